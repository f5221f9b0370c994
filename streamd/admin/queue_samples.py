"""Samples of every queue for its model: counters of the buffer, of the stage behind it, of the kernel."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from streamd.admin.view import BufferGauge, SourceGauge, StageGauge, View
from streamd.core.now import Now
from streamd.dynamics.queue_model import QueueSample

Place = tuple[Literal["source", "workers", "step", "sink"], str]
"""The kind and the name of a stage."""

_HALF_LIFE_S = 10.0
"""Time after which the measured cost of reading has half its weight."""


@dataclass(slots=True)
class _ReadCost:
    """What reading a frame costs the event loop: its CPU time less the time of the workers."""

    cpu_s: float = 0.0
    busy_s: float = 0.0
    frames: int = 0
    mono_s: float = 0.0
    sum_s: float = 0.0
    sum_frames: float = 0.0

    def observe(self, cpu_s: float, busy_s: float, frames: int, mono_s: float) -> float:
        """Enter cumulative times and frames; returns the seconds for each frame over the last seconds."""
        if self.mono_s and busy_s >= self.busy_s and frames >= self.frames:
            kept = 0.5 ** ((mono_s - self.mono_s) / _HALF_LIFE_S)
            self.sum_s = self.sum_s * kept + (cpu_s - self.cpu_s) - (busy_s - self.busy_s)
            self.sum_frames = self.sum_frames * kept + frames - self.frames
        self.cpu_s, self.busy_s, self.frames, self.mono_s = cpu_s, busy_s, frames, mono_s
        return max(0.0, self.sum_s) / self.sum_frames if self.sum_frames >= 1 else 0.0


class _Waits:
    """How long the records that leave a queue have waited, from its counters: first in, first out.

    The arrival of a record lies between two observations and is interpolated.
    """

    def __init__(self) -> None:
        self._arrivals: deque[tuple[float, int]] = deque()
        self._left = 0

    def observe(self, mono_s: float, arrived: int, left: int, dropped: int = 0) -> float | None:
        """The wait of the last record that left. None if none has left since the last call.

        Records that the full queue dropped count as its oldest ones, whichever they were.
        """
        has_moved, self._left = left != self._left, left
        gone = left + dropped
        arrivals = self._arrivals
        if len(arrivals) > 1 and arrivals[-2][1] == arrivals[-1][1] == arrived:
            arrivals.pop()  # the first and the last time of a count are enough, however long it stays
        arrivals.append((mono_s, arrived))
        while len(self._arrivals) > 1 and self._arrivals[1][1] <= gone:
            self._arrivals.popleft()
        if len(self._arrivals) == 1:
            return 0.0 if has_moved else None
        (then_s, before), (later_s, after) = self._arrivals[0], self._arrivals[1]
        share = max(0.0, (gone - before) / (after - before)) if after > before else 0.0
        return mono_s - then_s - share * (later_s - then_s) if has_moved else None


class QueueSamples:
    """Takes a sample of each queue from the view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._read = _ReadCost()
        self._before: dict[Place, StageGauge] = {}
        self._waits: dict[str, _Waits] = {}

    def take(self, now: Now) -> Iterator[tuple[BufferGauge, QueueSample]]:
        """A sample of each queue whose stage is known."""
        stages = {(stage.kind, stage.name): stage for stage in self._view.stages()}
        waits_s = self._view.take_least_waits_s()
        sources = {source.name: source for source in self._view.sources()}
        read_s = self._read.observe(
            self._view.loop_cpu_s(),
            sum(stage.busy_s for (kind, _), stage in stages.items() if kind == "workers"),
            sum(stage.entered for (kind, _), stage in stages.items() if kind == "source"),
            now.mono_s,
        )
        for buffer in self._view.buffers():
            own = stages.get((buffer.kind, buffer.name))
            if own is None:
                continue
            if buffer.kind == "sink":
                yield buffer, self._of_sink(buffer, own, now)
            elif (workers := self._workers_of(buffer.name, stages)) is not None:
                sample = self._of_source(buffer, own, workers, stages, sources.get(buffer.name), now)
                yield buffer, sample._replace(least_wait_s=waits_s.get(buffer.name), read_s=read_s)
        self._before = stages
        self._waits = {name: waits for name, waits in self._waits.items() if ("sink", name) in stages}

    def _of_sink(self, buffer: BufferGauge, sink: StageGauge, now: Now) -> QueueSample:
        books = [book for book in self._view.books.deliveries.values() if book.sink == buffer.name]
        dropped = sum(book.dropped["buffer_full"] for book in books)
        finished = sum(
            book.stored + book.rejected + book.dropped.total() - book.dropped["buffer_full"] for book in books
        )
        left = sink.entered - buffer.records - dropped
        return QueueSample(
            now.mono_s,
            arrived=sink.entered,
            left=left,
            least_wait_s=self._waits.setdefault(buffer.name, _Waits()).observe(
                now.mono_s, sink.entered, left, dropped
            ),
            records=buffer.records,
            size_bytes=buffer.size_bytes,
            max_records=buffer.max_records,
            max_bytes=buffer.max_bytes,
            batches=sink.batches,
            worked=finished,
            busy_s=sink.busy_s,
            idle_s=sink.idle_s,
            max_batch=sink.max_batch,
            overflows=dropped,
            intended_wait_s=sink.max_wait_s,
        )

    def _of_source(
        self,
        buffer: BufferGauge,
        source: StageGauge,
        workers: StageGauge,
        stages: dict[Place, StageGauge],
        gauge: SourceGauge | None,
        now: Now,
    ) -> QueueSample:
        before, workers_before = self._since(source), self._since(workers)
        seconds = source.elapsed_s - before.elapsed_s
        taken = source.left - before.left
        others = workers.entered - workers_before.entered - taken
        kernel = None if gauge is None else gauge.kernel_queue
        measured = kernel is not None and kernel.datagram_bytes is not None
        return QueueSample(
            now.mono_s,
            arrived=source.entered,
            left=source.left,
            records=buffer.records,
            size_bytes=buffer.size_bytes,
            max_records=buffer.max_records,
            max_bytes=buffer.max_bytes,
            batches=workers.batches,
            worked=workers.entered,
            busy_s=workers.busy_s,
            idle_s=workers.idle_s,
            max_batch=workers.max_batch,
            overflows=self._view.books.source(buffer.name).dropped["buffer_full"]
            + math.ceil(source.blocked_s * 1000),
            later_per_s=self._later_per_s(workers, stages, taken / seconds if seconds > 0 else 0.0),
            others_per_s=max(0.0, others / seconds) if seconds > 0 else 0.0,
            kernel_free_bytes=kernel.max_bytes - kernel.used_bytes
            if kernel is not None and measured
            else None,
            kernel_record_bytes=kernel.datagram_bytes * kernel.datagrams / max(1, source.entered)
            if kernel is not None and kernel.datagram_bytes is not None
            else 0.0,
        )

    def _workers_of(self, source: str, stages: dict[Place, StageGauge]) -> StageGauge | None:
        """The stage of the workers that read the source. Its name lists their pipelines."""
        pipelines = {book.pipeline for book in self._view.books.records.values() if book.source == source}
        for (kind, name), stage in stages.items():
            if kind == "workers" and not pipelines.isdisjoint(name.split(", ")):
                return stage
        return None

    def _later_per_s(self, workers: StageGauge, stages: dict[Place, StageGauge], taken_per_s: float) -> float:
        """What the slowest waiting step would let through: the present rate, divided by its busy share."""
        found = math.inf
        for (kind, name), step in stages.items():
            if kind == "step" and any(name.startswith(f"{one}.") for one in workers.name.split(", ")):
                before = self._since(step)
                seconds = step.elapsed_s - before.elapsed_s
                share = (step.busy_s - before.busy_s) / seconds if seconds > 0 else 0.0
                if share > 0 and taken_per_s > 0:
                    found = min(found, taken_per_s / share)
        return found

    def _since(self, stage: StageGauge) -> StageGauge:
        """The stage at the last sample; if it is another one since then, the stage itself."""
        before = self._before.get((stage.kind, stage.name))
        return before if before is not None and before.entered <= stage.entered else stage
