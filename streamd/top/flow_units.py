"""The figures of each source, pipeline, step and sink, from one status and the one before."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from streamd.admin.status_answer import (
    Book,
    BufferStatus,
    OutlookStatus,
    SharesStatus,
    SinkStatus,
    StageStatus,
    StatusAnswer,
)

Group = Literal["source", "pipeline", "step", "sink"]
GROUPS: tuple[Group, ...] = ("source", "pipeline", "step", "sink")


@dataclass(frozen=True)
class Counts:
    """Totals since the start of the run. `lost` are the drops of the books, and those of the kernel."""

    entered: int
    left: int
    rejected: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)

    @property
    def all_lost(self) -> int:
        """The losses for all reasons."""
        return sum(self.lost.values())


@dataclass(frozen=True)
class FlowUnit:
    """One row of the page. Rates are per second, and None until two statuses of one run are there."""

    group: Group
    name: str
    counts: Counts
    entered_per_s: float | None = None
    left_per_s: float | None = None
    lost_per_s: float | None = None
    buffer: BufferStatus | None = None
    shares: SharesStatus | None = None
    outlook: OutlookStatus | None = None
    limiting_step: str | None = None
    """The step behind a source that makes its workers wait."""
    trouble: str | None = None
    retrying_for_s: float | None = None

    @property
    def fill(self) -> float | None:
        """The share of the buffer that is full, by records or bytes, whichever is more."""
        buffer = self.buffer
        if buffer is None:
            return None
        return max(buffer.records / max(1, buffer.max_records), buffer.bytes / max(1, buffer.max_bytes))


def flow_units(now: StatusAnswer, before: StatusAnswer | None) -> list[FlowUnit]:
    """The units in the order of the flow."""
    over_s = 0.0 if before is None or before.run_id != now.run_id else seconds_between(before, now)
    earlier = dict(_counted(before)) if before is not None and over_s > 0 else {}
    return [_unit(now, place, counts, earlier.get(place), over_s) for place, counts in _counted(now)]


def seconds_between(before: StatusAnswer, now: StatusAnswer) -> float:
    """The time between two statuses, by the daemon's monotonic clock. Without stages by their numbers."""
    known = {(stage.kind, stage.name): stage.elapsed_s for stage in before.stages}
    spans = [stage.elapsed_s - known.get((stage.kind, stage.name), stage.elapsed_s) for stage in now.stages]
    return max(spans, default=0.0) if any(span > 0 for span in spans) else float(now.seq - before.seq)


def total(book: Book, counter: str) -> int:
    """The number of a counter, over all reasons."""
    value = book.get(counter, 0)
    return sum(value.values()) if isinstance(value, dict) else value


def lost_by_reason(books: Iterable[Book]) -> dict[str, int]:
    """Drops by reason. What the kernel dropped has a reason of its own."""
    found: dict[str, int] = {}
    for book in books:
        dropped = book.get("dropped", {})
        for reason, n in (dropped if isinstance(dropped, dict) else {"dropped": dropped}).items():
            found[reason] = found.get(reason, 0) + n
        if kernel := total(book, "kernel_dropped"):
            found["kernel_dropped"] = found.get("kernel_dropped", 0) + kernel
    return found


def _counted(status: StatusAnswer) -> Iterator[tuple[tuple[Group, str], Counts]]:
    for source in status.sources:
        yield ("source", source.name), _counts([source.frames], "received", "decoded")
    pipelines: dict[str, list[Book]] = {}
    for line in status.pipelines:
        pipelines.setdefault(line.name, []).append(line.records)
    for name, books in pipelines.items():
        yield ("pipeline", name), _counts(books, "in", "out")
    for stage in status.stages:
        if stage.kind == "step":
            yield ("step", stage.name), Counts(stage.entered, stage.left)
    for sink in status.sinks:
        yield ("sink", sink.name), _counts([one.records for one in sink.deliveries], "offered", "stored")


def _counts(books: list[Book], entered: str, left: str) -> Counts:
    return Counts(
        sum(total(book, entered) for book in books),
        sum(total(book, left) for book in books),
        sum(total(book, "rejected") for book in books),
        lost_by_reason(books),
    )


def _unit(
    status: StatusAnswer, place: tuple[Group, str], counts: Counts, before: Counts | None, over_s: float
) -> FlowUnit:
    group, name = place
    entered = left = lost = None
    # A reload may begin a unit anew: then its counters are below those before, and there is no rate yet.
    if before is not None and before.entered <= counts.entered and before.left <= counts.left:
        entered = (counts.entered - before.entered) / over_s
        left = (counts.left - before.left) / over_s
        lost = max(0, counts.all_lost - before.all_lost) / over_s
    sink = next((one for one in status.sinks if group == "sink" and one.name == name), None)
    stage = _stage(status, group, name)
    return FlowUnit(
        group,
        name,
        counts,
        entered,
        left,
        lost,
        buffer=_buffer(status, sink, group, name),
        shares=None if stage is None else stage.recent,
        outlook=next((one for one in status.outlook if (one.kind, one.name) == place), None),
        limiting_step=status.limiting_step(name) if group == "source" else None,
        trouble=None if sink is None or sink.state == "ok" else sink.reason or sink.state,
        retrying_for_s=None if sink is None else sink.retrying_for_s,
    )


def _buffer(status: StatusAnswer, sink: SinkStatus | None, group: Group, name: str) -> BufferStatus | None:
    if sink is not None:
        return sink.buffer
    return next((one.buffer for one in status.sources if group == "source" and one.name == name), None)


def _stage(status: StatusAnswer, group: Group, name: str) -> StageStatus | None:
    """The stage of a unit. Pipelines that share sources have one stage, with the names of all."""
    for stage in status.stages:
        if group == "pipeline" and stage.kind == "workers" and name in stage.name.split(", "):
            return stage
        if stage.kind == group and stage.name == name:
            return stage
    return None
