"""Figures of a running daemon, from its status over some seconds."""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from streamd.capacity.figures import (
    FRAME_BYTES,
    READ_S,
    RECORD_WEIGHT,
    BufferFigures,
    Figures,
    LineFigures,
    SinkFigures,
    SourceFigures,
    StepFigures,
    UnknownCapacityError,
)
from streamd.capacity.status import (
    SeenBuffer,
    SeenSink,
    SeenSource,
    SeenStage,
    SeenStatus,
    count_of,
    groups_of,
)
from streamd.config.tables import Config
from streamd.core.plural import counted
from streamd.runtime.batcher import most_of_commit
from streamd.runtime.intake import MAX_BATCH_BYTES

ENOUGH_BUSY_S = 0.02
ENOUGH_FRAMES = 200
"""Less work than this shows no cost of a record."""
LIGHT_SHARE = 0.5
"""A stage that was busy for less than this share worked in small batches, which cost more for each record."""
_FEW_BLOCKS = 5
"""The fewest intervals from which a variance is computed."""


class _Work(NamedTuple):
    """The work of a stage over the measurement, or since it began."""

    entered: int
    left: int
    busy_s: float
    share: float
    since_start: bool


def figures_of(
    seen: Sequence[SeenStatus],
    config: Config | None,
    loop_cpu_s: float | None,
    frame_bytes: float | None = None,
) -> Figures:
    """The figures of a daemon whose status was read at least twice, some seconds apart.

    `loop_cpu_s` is the CPU time of its event loop's thread meanwhile, None if it is not known. `frame_bytes`
    is the memory of a frame, None to weigh the waiting ones. Raises `UnknownCapacityError` if the daemon was
    idle, restarted or reloaded meanwhile.
    """
    first, last = seen[0], seen[-1]
    if (first.run_id, first.config_loaded_at) != (last.run_id, last.config_loaded_at):
        raise UnknownCapacityError("the daemon was started anew or reloaded meanwhile: ask again")
    return _Measurement(seen, config, loop_cpu_s, frame_bytes).figures()


class _Measurement:
    def __init__(
        self,
        seen: Sequence[SeenStatus],
        config: Config | None,
        loop_cpu_s: float | None,
        frame_bytes: float | None,
    ) -> None:
        self._seen = seen
        self._first, self._last = seen[0], seen[-1]
        self._seconds = self._last.uptime_s - self._first.uptime_s
        self._config = config
        self._loop_cpu_s = loop_cpu_s
        self._frame_bytes = frame_bytes
        self._assumed: list[str] = []
        self._stages = {(stage.kind, stage.name): stage for stage in self._last.stages}
        self._before = {(stage.kind, stage.name): stage for stage in self._first.stages}
        self._outlook = {(one.kind, one.name): one.capacity_per_s for one in self._last.outlook}

    def figures(self) -> Figures:
        rate = self._frames_between()
        self._assumed.append(
            f"loads: {rate / self._seconds:,.0f} frames/s in all, measured over {self._seconds:.1f} s"
        )
        lines: list[LineFigures] = []
        left_out: list[str] = []
        for pipelines, sources in groups_of(self._last.pipelines):
            stage = next(
                (one for one in self._last.stages
                 if one.kind == "workers" and set(one.name.split(", ")) == set(pipelines)), None
            )  # fmt: skip
            work = None if stage is None else self._work(stage)
            if stage is None or work is None:
                left_out.append(" and ".join(sources))
                continue
            lines.append(self._line(stage.name, pipelines, sources, work))
        if not lines:
            raise UnknownCapacityError(self._idle())
        if left_out:
            self._assumed.append(
                f"left out because its cost is not known: {'; '.join(left_out)} (too few frames so far)"
            )
        read_s = self._read_s()
        return Figures(
            lines=tuple(lines),
            read_s=read_s or 0.0,
            is_reading_known=read_s is not None,
            assumed=tuple(self._assumed),
            loop_lag_s=max(one.loop_lag_s for one in self._seen),
        )

    def _idle(self) -> str:
        frames = sum(stage.entered for stage in self._last.stages if stage.kind == "workers")
        return (
            f"the capacity is not known: the daemon has processed {counted(frames, 'frame')} in"
            f" {self._last.uptime_s:,.0f} s. Offer a load (such as `streamd send --generate --rate 5000`) and"
            " ask again, or use --bench FILE.json of `streamd bench --json FILE.json`"
        )

    def _work(self, stage: SeenStage) -> _Work | None:
        """The work of the stage meanwhile; if that is too little, since it began; if that is too, None."""
        between = self._whole_batches(stage)
        if between is not None:
            before, after = between
            entered, busy_s = after.entered - before.entered, after.busy_s - before.busy_s
            passed_s = after.elapsed_s - before.elapsed_s
            if entered >= ENOUGH_FRAMES and busy_s >= ENOUGH_BUSY_S:
                return _Work(entered, after.left - before.left, busy_s, busy_s / passed_s, since_start=False)
        if stage.entered >= ENOUGH_FRAMES and stage.busy_s >= ENOUGH_BUSY_S:
            share = stage.busy_s / stage.elapsed_s
            return _Work(stage.entered, stage.left, stage.busy_s, share, since_start=True)
        return None

    def _whole_batches(self, stage: SeenStage) -> tuple[SeenStage, SeenStage] | None:
        """Two observations of the stage between which it has worked on whole batches, as exactly as was seen.

        If a batch takes longer than the time between two observations, its records come late: so both are
        then observations that saw a batch end. None if there are no two, or if the stage began anew.
        """
        seen = [one for status in self._seen for one in status.stages
                if (one.kind, one.name) == (stage.kind, stage.name)]  # fmt: skip
        if len(seen) < len(self._seen) or stage.busy_s < seen[0].busy_s:
            return None
        ends = [after for before, after in itertools.pairwise(seen) if after.left != before.left]
        if len(ends) == len(seen) - 1:
            return seen[0], seen[-1]
        return (ends[0], ends[-1]) if len(ends) > 1 else None

    def _line(self, name: str, pipelines: list[str], sources: list[str], work: _Work) -> LineFigures:
        found = tuple(self._source(source) for source in self._last.sources if source.name in sources)
        taken = sum(count_of(s.frames, "decoded") + count_of(s.frames, "rejected") for s in self._last.sources
                    if s.name in sources)  # fmt: skip
        records = sum(count_of(p.records, "in") for p in self._last.pipelines if p.name in pipelines)
        offered = {
            sink.name: sum(count_of(d.records, "offered") for d in sink.deliveries if d.pipeline in pipelines)
            for sink in self._last.sinks
            if self._feeds(pipelines, sink)
        }
        process_s = work.busy_s / work.entered
        steps = tuple(self._steps(pipelines, max(1, taken)))
        self._assumed.append(
            f"workers of {name}: {process_s * 1e6:.2f} µs of one core a frame, from {work.entered:,} frames"
            f" {'since their start' if work.since_start else 'meanwhile'} (busy {work.share:.0%})"
        )
        record_bytes = RECORD_WEIGHT * max(
            (source.buffer.item_bytes for source in found), default=FRAME_BYTES
        )
        return LineFigures(
            name=name,
            sources=found,
            sinks=tuple(self._sink(sink, record_bytes) for sink in self._last.sinks if sink.name in offered),
            per_frame={sink: n / max(1, taken) for sink, n in offered.items()},
            process_s=process_s,
            records_per_frame=records / max(1, taken) / len(pipelines),
            steps=steps,
            in_hand=self._in_hand(name, found, steps),
            at_least=work.share < LIGHT_SHARE,
        )

    def _feeds(self, pipelines: list[str], sink: SeenSink) -> bool:
        if self._config is not None:
            known = [self._config.pipelines[name] for name in pipelines if name in self._config.pipelines]
            return any(sink.name in pipeline.sinks for pipeline in known)
        return any(delivery.pipeline in pipelines for delivery in sink.deliveries)

    def _source(self, source: SeenSource) -> SourceFigures:
        counts = [self._received(status, source.name) for status in self._seen]
        times = [status.uptime_s for status in self._seen]
        rate_per_s = max(0, counts[-1] - counts[0]) / self._seconds
        settings = None if self._config is None else self._config.sources.get(source.name)
        endpoints = () if settings is None else settings.endpoints
        received = next((one.receive_buffer_bytes for one in endpoints if one.kind == "udp"), None)
        weighed = _weighed(
            next((s.buffer for s in status.sources if s.name == source.name), None) for status in self._seen
        )
        if weighed is None and self._frame_bytes is None:
            self._assumed.append(
                f"source {source.name}: {FRAME_BYTES:.0f} B of memory a frame, assumed because none waited;"
                " --frame-size gives another size"
            )
        item_bytes = self._frame_bytes or weighed or FRAME_BYTES
        return SourceFigures(
            name=source.name,
            buffer=_bounds(source.buffer, item_bytes),
            load=((1.0, rate_per_s),),
            waiting=source.buffer.records if source.buffer is not None else 0,
            dispersion=_dispersion(times, counts),
            receive_buffer_bytes=received,
        )

    def _sink(self, sink: SeenSink, record_bytes: float) -> SinkFigures:
        stage = self._stages.get(("sink", sink.name))
        work = None if stage is None else self._work(stage)
        capacity = self._outlook.get(("sink", sink.name))
        at_least = False
        if capacity is not None:
            self._assumed.append(
                f"sink {sink.name}: {capacity:,.0f} records/s in full batches, as it measured"
            )
        elif work is not None and work.busy_s > 0:
            capacity, at_least = work.left / work.busy_s, work.share < LIGHT_SHARE
            self._assumed.append(
                f"sink {sink.name}: {'at least ' * at_least}{capacity:,.0f} records/s, from {work.left:,}"
                f" records {'since its start' if work.since_start else 'meanwhile'}"
                f" (busy {work.share:.0%})"
            )
        else:
            capacity = float("inf")
            self._assumed.append(f"sink {sink.name}: no limit, because hardly any record has reached it")
        settings = None if self._config is None else self._config.sinks.get(sink.name)
        weighed = _weighed(
            next((s.buffer for s in status.sinks if s.name == sink.name), None) for status in self._seen
        )
        batch = {} if settings is None else {
            "max_wait_s": settings.batch.max_wait, "enough": settings.batch.max_records,
            "most_written": most_of_commit(settings.batch.max_records, settings.buffer.max_records),
            "attempt_s": settings.attempt_s,
        }  # fmt: skip
        return SinkFigures(
            name=sink.name,
            buffer=_bounds(sink.buffer, weighed or record_bytes),
            capacity_per_s=capacity,
            waiting=sink.buffer.records if sink.buffer is not None else 0,
            at_least=at_least,
            **batch,  # type: ignore[arg-type]  # numbers
        )

    def _steps(self, pipelines: list[str], taken: int) -> Iterable[StepFigures]:
        for stage in self._last.stages:
            pipeline, _, step = stage.name.rpartition(".")
            if stage.kind != "step" or pipeline not in pipelines:
                continue
            work = self._work(stage)
            if work is None or not work.left:
                continue
            slots, key = self._slots(pipeline, step)
            under_way = self._mean_under_way(stage.name) if slots > 1 else 1.0
            record_s = work.busy_s * under_way / work.left
            at_once = "one batch at a time" if slots == 1 else f"each of {slots} batches at a time"
            self._assumed.append(f"step {stage.name}: {record_s * 1e3:.3g} ms a record in {at_once}")
            yield StepFigures(
                name=stage.name, record_s=record_s, slots=slots, per_frame=stage.entered / taken, key=key
            )

    def _in_hand(self, name: str, sources: Sequence[SourceFigures], steps: Sequence[StepFigures]) -> float:
        """Frames that workers may hold in batches that wait for a step. Without one they hold none."""
        if self._config is None or not steps:
            return 0.0
        daemon = self._config.daemon
        batch = min(daemon.max_batch, MAX_BATCH_BYTES / max(source.buffer.item_bytes for source in sources))
        held = batch * (daemon.workers + sum(step.slots for step in steps))
        self._assumed.append(f"workers of {name} may hold {held:,.0f} frames in batches that wait for a step")
        return held

    def _mean_under_way(self, name: str) -> float:
        """The mean number of batches under way while there was one."""
        found = [
            stage.under_way
            for status in self._seen
            for stage in status.stages
            if stage.kind == "step" and stage.name == name and stage.under_way
        ]
        return sum(found) / len(found) if found else 1.0

    def _slots(self, pipeline: str, step: str) -> tuple[int, str]:
        index = step.rpartition("[")[2].rstrip("]")
        key = f"pipelines.{pipeline}.steps[{index}].concurrency"
        if self._config is None or pipeline not in self._config.pipelines or not index.isdigit():
            return 1, key
        steps = self._config.pipelines[pipeline].steps
        concurrency = steps[int(index)].options.get("concurrency", 1) if int(index) < len(steps) else 1
        return (concurrency if isinstance(concurrency, int) else 1), key

    def _read_s(self) -> float | None:
        """Seconds of the loop for each frame beside the workers; None if they were not measured."""
        frames = self._frames_between()
        if self._loop_cpu_s is None or frames < ENOUGH_FRAMES:
            at_worst = f"at worst it costs {READ_S * 1e6:.0f} µs a frame"
            self._assumed.append(f"reading: not measured, so it counts as free; {at_worst}")
            return None
        busy_s = sum(
            stage.busy_s - self._before[stage.kind, stage.name].busy_s
            for stage in self._last.stages
            if stage.kind == "workers" and (stage.kind, stage.name) in self._before
        )
        read_s = max(0.0, self._loop_cpu_s - busy_s) / frames
        self._assumed.append(
            f"reading and rows: {read_s * 1e6:.2f} µs of the same core a frame, from the loop's CPU time"
        )
        return read_s

    def _frames_between(self) -> int:
        return sum(
            self._received(self._last, source.name) - self._received(self._first, source.name)
            for source in self._last.sources
        )

    @staticmethod
    def _received(status: SeenStatus, name: str) -> int:
        """Frames that arrived, with those that the kernel dropped."""
        return sum(
            count_of(source.frames, counter)
            for source in status.sources
            if source.name == name
            for counter in ("received", "kernel_dropped")
        )


def _bounds(buffer: SeenBuffer | None, item_bytes: float) -> BufferFigures:
    if buffer is None:
        return BufferFigures(max_records=1 << 62, max_bytes=1 << 62, item_bytes=item_bytes, when_full="block")
    return BufferFigures(
        max_records=buffer.max_records,
        max_bytes=buffer.max_bytes,
        item_bytes=item_bytes,
        when_full=buffer.when_full,
    )


def _weighed(buffers: Iterable[SeenBuffer | None]) -> float | None:
    """The memory of an item in the fullest of these moments. None if nothing waited in any."""
    fullest = max((one for one in buffers if one is not None), key=lambda one: one.records, default=None)
    return fullest.bytes / fullest.records if fullest is not None and fullest.records else None


def _dispersion(times: Sequence[float], counts: Sequence[int]) -> float | None:
    """The variance of arrivals divided by their mean, over the intervals between the observations."""
    blocks = [
        (t - s, n - m) for s, t, m, n in zip(times, times[1:], counts, counts[1:], strict=False) if t > s
    ]
    total_s, total = sum(s for s, _ in blocks), sum(n for _, n in blocks)
    if len(blocks) < _FEW_BLOCKS or total <= 0:
        return None
    rate = total / total_s
    return sum((n - rate * s) ** 2 / (rate * s) for s, n in blocks) / (len(blocks) - 1)
