"""What is about to happen to the buffers of a daemon, in words."""

from collections.abc import Callable, Iterable, Iterator

from streamd.admin.outlook import SMALL_SLACK_S
from streamd.admin.status_answer import OutlookStatus
from streamd.core.printable import escape

_WHOLE_S = 10
"""Longer times have no tenths."""


def lines(
    outlook: Iterable[OutlookStatus], limiting_step: Callable[[str], str | None] = lambda _: None
) -> Iterator[str]:
    """A line for each buffer that is filling, never empties or limits the flow. Else nothing.

    `limiting_step` names the step that makes the workers behind a source wait, if there is one.
    """
    for one in outlook:
        step = limiting_step(one.name) if one.kind == "source" and one.bottleneck else None
        if found := list(_found(one, step)):
            yield f"{one.kind} {escape(one.name)}: {'; '.join(found)}"


def _found(one: OutlookStatus, step: str | None) -> Iterator[str]:
    if one.overflow_expected:
        yield _filling(one)
    if one.standing_queue and one.min_sojourn_s is not None:
        unit = "frame" if one.kind == "source" else "record"
        yield f"a backlog stays: even the {unit} that waited least waited {_seconds(one.min_sojourn_s)}"
    if one.loop_slack_s is not None and one.loop_slack_s < SMALL_SLACK_S:
        yield f"the kernel drops datagrams if the event loop stands still for {_seconds(one.loop_slack_s)}"
    if one.bottleneck:
        stage = "its workers limit" if one.kind == "source" else "it limits"
        if step is not None:
            stage = f"step {escape(step)} limits"
        yield f"{stage} the flow" + ("" if not one.capacity_per_s else f" to {one.capacity_per_s:,.0f}/s")


def _filling(one: OutlookStatus) -> str:
    full_in = one.full_in_s
    if full_in is not None and not full_in.median:
        return "its buffer is full"
    chance = one.overflow_probability
    likely = "" if chance is None else f" with a probability of {chance:.0%} within {_seconds(one.horizon_s)}"
    if full_in is None:
        return f"its buffer is likely to be full soon{likely}"
    high = "never" if full_in.high is None else _seconds(full_in.high)
    return (
        f"its buffer is full in about {_seconds(full_in.median)} ({_seconds(full_in.low)} to {high}){likely}"
    )


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < _WHOLE_S else f"{seconds:,.0f} s"
