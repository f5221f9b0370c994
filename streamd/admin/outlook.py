"""Observes every queue for its model, and says in the log what is about to happen."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog

from streamd.admin.queue_samples import QueueSamples
from streamd.admin.view import BufferGauge, View
from streamd.core.now import Now
from streamd.dynamics.filling import FullIn
from streamd.dynamics.hysteresis import Hysteresis
from streamd.dynamics.queue_model import QueueModel, QueueOutlook
from streamd.dynamics.sojourn import TARGET_S

SMALL_SLACK_S = 0.1
"""A loop that must not stand still for so long is in danger, however short its delays were."""
BUSY_SHARE = 0.9
"""A stage that needs more of its capacity than this limits the flow."""

Kind = Literal["source", "sink"]

log = structlog.get_logger()


@dataclass(slots=True)
class _Observed:
    model: QueueModel
    outlook: QueueOutlook
    is_expected: bool = False
    standing: Hysteresis = field(default_factory=lambda: Hysteresis(1.0, 0.5, 5.0))
    """Of the least wait, as a multiple of the wait that is no sign of a queue."""
    small_slack: Hysteresis = field(default_factory=lambda: Hysteresis(1.0, 0.5, 2.0))
    """Of the slack that is too small, as a multiple of the slack."""


class Outlooks:
    """The outlook of each queue. `observe` is called about twice a second.

    A queue that a reload makes anew is observed anew; one that it removes is forgotten.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._samples = QueueSamples(view)
        self._observed: dict[tuple[Kind, str], _Observed] = {}

    def observe(self, now: Now, worst_lag_s: float) -> None:
        """Observe every queue, and log what begins and what ends. `worst_lag_s`: delay of the event loop."""
        seen: dict[tuple[Kind, str], _Observed] = {}
        for buffer, sample in self._samples.take(now):
            place = buffer.kind, buffer.name
            one = self._observed.get(place)
            if one is None:
                model = QueueModel(now.mono_s)
                one = _Observed(model, model.observe(sample))
            else:
                one.outlook = one.model.observe(sample)
            seen[place] = one
            self._tell(buffer, one, now, worst_lag_s)
        self._observed = seen

    def all(self) -> Iterable[tuple[Kind, str, QueueOutlook]]:
        """The kind and the name of each queue with its outlook."""
        return ((kind, name, one.outlook) for (kind, name), one in self._observed.items())

    @property
    def bottleneck(self) -> tuple[Kind, str] | None:
        """The queue whose stage limits the flow: the last one on the way that has more than it can do."""
        found: tuple[Kind, str] | None = None
        most = BUSY_SHARE
        for kind in ("source", "sink"):  # a sink that is too slow makes the workers wait, not the reverse
            of_kind = [(place, one.outlook) for place, one in self._observed.items() if place[0] == kind]
            for place, outlook in of_kind:
                share = 1.0 if outlook.records and outlook.capacity_per_s == 0 else outlook.utilization or 0.0
                if share >= most:
                    found, most = place, share
            most = BUSY_SHARE
        return found

    def document(self) -> list[dict[str, Any]]:
        """The section `outlook` of `/status`."""
        bottleneck = self.bottleneck
        return [
            {
                "kind": kind,
                "name": name,
                "in_per_s": round(outlook.in_per_s, 1),
                "out_per_s": round(outlook.out_per_s, 1),
                "capacity_per_s": _rounded(outlook.capacity_per_s, 1),
                "utilization": _rounded(outlook.utilization, 4),
                "drift_per_s": round(outlook.drift_per_s, 1),
                "rates": [
                    {
                        "over_s": flow.window_s,
                        "in_per_s": round(flow.in_per_s, 1),
                        "out_per_s": round(flow.out_per_s, 1),
                    }
                    for flow in outlook.flows
                ],
                "records": outlook.records,
                "max_records": outlook.max_records,
                "bytes": outlook.bytes,
                "max_bytes": outlook.max_bytes,
                "bound": outlook.bound,
                "wait_s": _rounded(outlook.wait_s, 6),
                "min_sojourn_s": _rounded(outlook.min_sojourn_s, 6),
                "standing_queue": outlook.standing_queue,
                "full_in_s": _band(outlook.full_in_s),
                "overflow_probability": _rounded(outlook.overflow_probability, 4),
                "horizon_s": outlook.horizon_s,
                "overflow_expected": outlook.overflow_expected,
                "forecast": "yes" if outlook.has_forecast else "no",
                "skill": _rounded(outlook.skill, 4),
                "loop_slack_s": _rounded(outlook.loop_slack_s, 4),
                "bottleneck": (kind, name) == bottleneck,
            }
            for kind, name, outlook in self.all()
        ]

    def _tell(self, buffer: BufferGauge, one: _Observed, now: Now, worst_lag_s: float) -> None:
        outlook = one.outlook
        place = {buffer.kind: buffer.name}
        if outlook.overflow_expected != one.is_expected:
            one.is_expected = outlook.overflow_expected
            if one.is_expected:
                log.warning(
                    "overflow_expected",
                    **place,
                    full_in_s=None if outlook.full_in_s is None else round(outlook.full_in_s.median_s, 1),
                    probability=_rounded(outlook.overflow_probability, 2),
                    in_per_s=round(outlook.in_per_s),
                    capacity_per_s=_rounded(outlook.capacity_per_s, 0),
                    when_full=buffer.when_full,
                )
            else:
                log.info("overflow_no_longer_expected", **place, records=outlook.records)
        least_s = outlook.min_sojourn_s or 0.0
        if one.standing.observe(least_s / TARGET_S if outlook.standing_queue else 0.0, now.mono_s):
            if one.standing.is_on:
                log.warning(
                    "standing_queue", **place, least_wait_s=round(least_s, 3), records=outlook.records
                )
            else:
                log.info("standing_queue_over", **place)
        slack_s = outlook.loop_slack_s
        needed_s = max(SMALL_SLACK_S, worst_lag_s)
        shortage = 0.0 if slack_s is None else needed_s / max(slack_s, 1e-3)
        if one.small_slack.observe(shortage, now.mono_s):
            if one.small_slack.is_on:
                log.warning(
                    "loop_slack_small",
                    **place,
                    slack_s=_rounded(slack_s, 3),
                    worst_lag_s=round(worst_lag_s, 3),
                    hint="raise receive_buffer: the kernel drops datagrams while the event loop stands still",
                )
            else:
                log.info("loop_slack_enough", **place, slack_s=_rounded(slack_s, 3))


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _band(full_in: FullIn | None) -> dict[str, float | None] | None:
    if full_in is None:
        return None
    return {
        "low": round(full_in.low_s, 2),
        "median": round(full_in.median_s, 2),
        "high": _rounded(full_in.high_s, 2),
    }
