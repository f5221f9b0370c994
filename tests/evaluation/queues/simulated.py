"""The same drives without a machine: a step exactly as fast as its pace, and the model that looks."""

from streamd.dynamics.queue_model import QueueModel, QueueOutlook, QueueSample
from tests.evaluation.queues.driven import Drive, Seen

_STEP_S = 0.01
_LOOK_S = 0.1
_OBSERVE_S = 0.5
_BATCH = 32
_RECORD_BYTES = 100
_MAX_BYTES = 10**9


def simulate(one: Drive) -> Drive:
    """Drive the model with the load of the drive, whose pace does not change; what is seen is entered."""
    model = QueueModel(0.0)
    outlook: dict[str, dict[str, object]] = {}
    due = waits = left = idle_s = 0.0
    sent = dropped = 0
    for number in range(1, round(one.seconds / _STEP_S)):
        now_s = number * _STEP_S
        due += one.load(now_s) * _STEP_S
        arrived, sent = int(due) - sent, int(due)
        lost = max(0, arrived - int(one.source_records - waits))
        dropped += lost
        waits += arrived - lost
        able = one.pace_per_s * _STEP_S
        done = min(waits, able)
        waits, left, idle_s = waits - done, left + done, idle_s + _STEP_S * (1 - done / able)
        if number % round(_OBSERVE_S / _STEP_S) == 0:
            sample = QueueSample(
                now_s,
                arrived=sent,
                left=sent - dropped - int(waits),
                records=int(waits),
                size_bytes=int(waits) * _RECORD_BYTES,
                max_records=one.source_records,
                max_bytes=_MAX_BYTES,
                batches=int(left / _BATCH),
                worked=int(left),
                busy_s=0.0,  # the workers only wait for the step
                idle_s=idle_s,
                max_batch=_BATCH,
                later_per_s=one.pace_per_s,
                overflows=dropped,
            )
            outlook = {"source": _entry(model.observe(sample))}
        if outlook and number % round(_LOOK_S / _STEP_S) == 0:
            one.seen.append(Seen(now_s, sent, dropped, 0, outlook, int(waits)))
    return one


def _entry(outlook: QueueOutlook) -> dict[str, object]:
    """As in `/status`."""
    band = outlook.full_in_s
    return {
        "records": outlook.records,
        "max_records": outlook.max_records,
        "max_bytes": outlook.max_bytes,
        "capacity_per_s": outlook.capacity_per_s,
        "in_per_s": outlook.in_per_s,
        "overflow_expected": outlook.overflow_expected,
        "full_in_s": band and {"low": band.low_s, "median": band.median_s, "high": band.high_s},
    }
