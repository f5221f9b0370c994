"""The outlook of each queue as Prometheus metrics."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric

from streamd.admin.outlook import Outlooks

_LABELS = ["kind", "buffer"]
_NUMBERS = {
    "in_per_s": ("inflow_per_second", "records that arrive in a buffer each second, as measured last"),
    "capacity_per_s": ("capacity_per_second", "records each second that the stage behind a buffer can take"),
    "utilization": ("utilization_ratio", "inflow of a buffer divided by the capacity of its stage"),
    "drift_per_s": ("drift_per_second", "inflow of a buffer less the capacity of its stage"),
    "wait_s": ("wait_seconds", "time that the records in a buffer need to leave it"),
    "min_sojourn_s": ("least_wait_seconds", "least wait of a frame in a buffer over the last second"),
    "standing_queue": ("standing", "1 while even the least wait in a buffer shows a backlog"),
    "overflow_probability": ("overflow_probability", "probability that a buffer is full within its horizon"),
    "horizon_s": ("horizon_seconds", "time for which an overflow of a buffer is forecast"),
    "overflow_expected": ("overflow_expected", "1 while an overflow of a buffer is expected"),
    "skill": ("forecast_skill", "Brier skill of past forecasts of an overflow: 1 perfect, 0 the base rate"),
    "loop_slack_s": ("loop_slack_seconds", "how long the event loop may stand still before the kernel drops"),
}
"""The name and the meaning of the metric for each number of an outlook. One that is None has no sample."""


def families(outlooks: Outlooks) -> Iterable[Metric]:
    """The metrics, with a sample for each queue."""
    found = list(outlooks.all())
    for attribute, (name, meaning) in _NUMBERS.items():
        family = GaugeMetricFamily(f"streamd_queue_{name}", meaning, labels=_LABELS)
        for kind, buffer, outlook in found:
            value = getattr(outlook, attribute)
            if value is not None:
                family.add_metric([kind, buffer], value)
        yield family
    full_in = GaugeMetricFamily(
        "streamd_queue_full_in_seconds",
        "time until a buffer is full: median and ends of a band of 90 %; no high end if it may never be full",
        labels=[*_LABELS, "bound"],
    )
    for kind, buffer, outlook in found:
        for bound, seconds in () if outlook.full_in_s is None else outlook.full_in_s._asdict().items():
            if seconds is not None:
                full_in.add_metric([kind, buffer, bound.removesuffix("_s")], seconds)
    yield full_in
