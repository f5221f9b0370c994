"""What one process shows of itself at one moment, and the same over all processes."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, TypeVar

from streamd.admin.view import BufferGauge, Phase, SinkGauge, SourceGauge, StageGauge, View
from streamd.core.books import Books
from streamd.core.contracts import KernelQueue
from streamd.core.counters import Counters
from streamd.core.errors import Place
from streamd.core.histogram import Histogram

G = TypeVar("G", BufferGauge, SinkGauge, SourceGauge, StageGauge)


@dataclass(slots=True)
class ProcessSnapshot:
    """The books and gauges of one process. Every part of it can be sent to another process."""

    books: Books = field(default_factory=Books)
    phase: Phase = "starting"
    at_wall_s: float = 0.0
    buffers: list[BufferGauge] = field(default_factory=list)
    sinks: list[SinkGauge] = field(default_factory=list)
    sources: list[SourceGauge] = field(default_factory=list)
    stages: list[StageGauge] = field(default_factory=list)
    least_waits_s: dict[str, float] = field(default_factory=dict)
    loop_cpu_s: float = 0.0
    dead_letters: Counter[str] = field(default_factory=Counter)
    holds: list[Place] = field(default_factory=list)
    lost_files: list[str] = field(default_factory=list)
    stalled: list[str] = field(default_factory=list)
    """One line for each part that makes no progress."""
    ledger_trouble: str | None = None
    unclean_runs: int = 0


def taken(view: View, stalled: Sequence[str]) -> ProcessSnapshot:
    """The present snapshot of the process that the view shows."""
    view.refresh()
    return ProcessSnapshot(
        books=merged_books([view.books]),  # a copy, because the counts go on
        phase=view.phase,
        at_wall_s=view.clock().wall_s,
        buffers=list(view.buffers()),
        sinks=list(view.sinks()),
        sources=list(view.sources()),
        stages=list(view.stages()),
        least_waits_s=view.take_least_waits_s(),
        loop_cpu_s=view.loop_cpu_s(),
        dead_letters=Counter(view.dead_letters),
        holds=list(view.holds()),
        lost_files=list(view.lost_files()),
        stalled=list(stalled),
        ledger_trouble=view.ledger_trouble(),
        unclean_runs=view.unclean_runs(),
    )


def merged_books(parts: Sequence[Books]) -> Books:
    """The sums over the books, with the meanings of their counters and the newest gauges of their steps."""
    merged = Books.merge(parts)
    for part in parts:
        for name, frames in part.frames.items():
            _describe(merged.source(name).counters, frames.counters)
        for step, counters in part.steps.items():
            _describe(merged.step(*step), counters)
        for sink, counters in part.sinks.items():
            _describe(merged.sink(sink), counters)
    return merged


def _describe(counters: Counters, like: Counters) -> None:
    if like.meanings is not None:
        counters.declare(like.meanings)
    counters.gauges |= like.gauges
    counters.gauge_meanings |= like.gauge_meanings


def buffers(snapshots: Iterable[ProcessSnapshot]) -> Iterator[BufferGauge]:
    """Each buffer with the contents and the limits of all processes."""
    for same in _by_name([one.buffers for one in snapshots], lambda gauge: (gauge.kind, gauge.name)):
        yield replace(
            same[0],
            records=sum(gauge.records for gauge in same),
            size_bytes=sum(gauge.size_bytes for gauge in same),
            max_records=sum(gauge.max_records for gauge in same),
            max_bytes=sum(gauge.max_bytes for gauge in same),
        )


def sinks(snapshots: Iterable[ProcessSnapshot]) -> Iterator[SinkGauge]:
    """Each sink: the oldest trouble, the oldest write under way and the newest commit of all processes."""
    for same in _by_name([one.sinks for one in snapshots], lambda gauge: gauge.name):
        troubled = [gauge for gauge in same if gauge.trouble is not None]
        worst = min(troubled, key=lambda gauge: gauge.trouble_since_mono_s, default=same[0])
        yield replace(
            worst,
            last_commit_mono_s=max(_known(gauge.last_commit_mono_s for gauge in same), default=None),
            latency_s=Histogram.merge([gauge.latency_s for gauge in same]),
            writing_since_mono_s=min(_known(gauge.writing_since_mono_s for gauge in same), default=None),
            usual_write_s=max(gauge.usual_write_s for gauge in same),
            progress=sum(gauge.progress for gauge in same),
        )


def sources(snapshots: Iterable[ProcessSnapshot]) -> Iterator[SourceGauge]:
    """Each source with the connections of all processes."""
    for same in _by_name([one.sources for one in snapshots], lambda gauge: gauge.name):
        expiries = _known(gauge.certificate_expires_at_wall_s for gauge in same)
        yield replace(
            same[0],
            listening=tuple(dict.fromkeys(at for gauge in same for at in gauge.listening)),
            connections=sum(gauge.connections for gauge in same),
            certificate_expires_at_wall_s=min(expiries, default=None),
            kernel_queue=_queue(_known(gauge.kernel_queue for gauge in same)),
        )


def stages(snapshots: Iterable[ProcessSnapshot]) -> Iterator[StageGauge]:
    """Each stage: the sum of what passed it, and the mean time of the processes in each state."""
    for same in _by_name([one.stages for one in snapshots], lambda gauge: (gauge.kind, gauge.name)):
        states = [gauge.state for gauge in same]
        under_way = _known(gauge.under_way for gauge in same)
        yield replace(
            same[0],
            state="busy" if "busy" in states else "blocked" if "blocked" in states else "idle",
            entered=sum(gauge.entered for gauge in same),
            left=sum(gauge.left for gauge in same),
            batches=sum(gauge.batches for gauge in same),
            under_way=sum(under_way) if under_way else None,
            elapsed_s=sum(gauge.elapsed_s for gauge in same) / len(same),
            busy_s=sum(gauge.busy_s for gauge in same) / len(same),
            blocked_s=sum(gauge.blocked_s for gauge in same) / len(same),
            idle_s=sum(gauge.idle_s for gauge in same) / len(same),
        )


def _queue(queues: list[KernelQueue]) -> KernelQueue | None:
    """The queues of all sockets as one. A datagram's bytes are those of the first that was measured."""
    if not queues:
        return None
    return KernelQueue(
        sum(queue.used_bytes for queue in queues),
        sum(queue.max_bytes for queue in queues),
        sum(queue.datagrams for queue in queues),
        next(iter(_known(queue.datagram_bytes for queue in queues)), None),
    )


def _by_name(lists: list[list[G]], name: Callable[[G], Any]) -> Iterator[list[G]]:
    """The gauges of one name, from all lists, in the order of the longest list."""
    every = [gauge for gauges in sorted(lists, key=len, reverse=True) for gauge in gauges]
    places = {key: place for place, key in enumerate(dict.fromkeys(map(name, every)))}
    every.sort(key=lambda gauge: places[name(gauge)])
    for _, same in groupby(every, name):
        yield list(same)


T = TypeVar("T")


def _known(values: Iterable[T | None]) -> list[T]:
    return [value for value in values if value is not None]
