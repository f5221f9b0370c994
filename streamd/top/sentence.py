"""The sentence that answers at a glance whether data flows, whether it is lost, and what comes next."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from streamd.admin.status_answer import FullInStatus, StatusAnswer
from streamd.top.flow_units import FlowUnit
from streamd.top.words import count, rate, span

Level = Literal["good", "warn", "bad"]


class Sentence(NamedTuple):
    """The judgement, its word, and its reasons and figures."""

    level: Level
    word: str
    parts: list[str]


def sentence(status: StatusAnswer, units: Sequence[FlowUnit], lost_at: datetime | None) -> Sentence:
    """The judgement of one status. `lost_at`: when a loss was last seen, None if never."""
    found = sorted(_faults(status, units), key=lambda fault: fault[0] != "bad")
    level: Level = found[0][0] if found else "good"
    word = {"good": "Healthy", "warn": "Attention", "bad": "Trouble"}[level]
    return Sentence(level, word, [*(text for _, text in found), *_figures(status, units, lost_at)])


def _faults(status: StatusAnswer, units: Sequence[FlowUnit]) -> Iterator[tuple[Level, str]]:
    if status.phase != "running":
        yield "warn", status.phase
    losing = sum(unit.lost_per_s or 0 for unit in units)
    if losing > 0:
        yield "bad", f"losing {rate(losing)}/s"
    for imbalance in status.imbalances[:1]:
        yield "bad", f"the books do not balance: {imbalance}"
    if not status.ready and status.phase == "running":
        yield "bad", f"not ready: {'; '.join(status.reasons) or 'no reason given'}"
    yield from _queues_and_sinks(status, units)
    if status.reload_failure is not None:
        yield "warn", "the newest reload failed"


def _queues_and_sinks(status: StatusAnswer, units: Sequence[FlowUnit]) -> Iterator[tuple[Level, str]]:
    for one in status.outlook:
        if one.overflow_expected:
            yield "bad", f"{one.kind} {one.name} {full_in(one.full_in_s)}"
        elif one.standing_queue:
            yield "warn", f"{one.kind} {one.name} has a standing queue of {span(one.min_sojourn_s)}"
    for unit in units:
        if unit.trouble is not None:
            yield "warn", f"sink {unit.name} retries for {span(unit.retrying_for_s)}: {unit.trouble}"


def full_in(band: FullInStatus | None) -> str:
    """When a buffer is full: is full; will be full in 12 s (8.0 s to 20 s)."""
    if band is None:
        return "will soon be full"
    if band.median <= 0:
        return "is full"
    high = "perhaps never" if band.high is None else f"to {span(band.high)}"
    return f"will be full in {span(band.median)} ({span(band.low)} {high})"


def _figures(status: StatusAnswer, units: Sequence[FlowUnit], lost_at: datetime | None) -> Iterator[str]:
    sources = [unit for unit in units if unit.group == "source"]
    rates = [unit.entered_per_s for unit in sources if unit.entered_per_s is not None]
    if rates:
        yield f"{rate(sum(rates))}/s in"
    lost = sum(unit.counts.all_lost for unit in units)
    if not lost:
        began = "" if status.started_at is None else f" since {_clock(status.started_at)}"
        yield f"nothing lost{began}"
    elif lost_at is None:
        yield f"{count(lost)} lost since the start"
    else:
        yield f"{count(lost)} lost since the start, last at {_clock(lost_at)}"
    rooms = [
        (unit.buffer.max_records - unit.buffer.records) / unit.entered_per_s
        for unit in sources
        if unit.buffer is not None and unit.entered_per_s
    ]
    if rooms:
        yield f"buffers hold {span(min(rooms))}"


def _clock(at: datetime) -> str:
    """The local time of day, with the date unless it is today."""
    local = at.astimezone()
    today = local.date() == datetime.now(local.tzinfo).date()
    return f"{local:%H:%M:%S}" if today else f"{local:%Y-%m-%d %H:%M}"
