"""The course of every buffer in a scenario: occupancy, delay and loss over time."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from streamd.capacity.figures import BufferFigures, Figures, LineFigures, SinkFigures, SourceFigures
from streamd.capacity.flows import Flows
from streamd.capacity.scenario import Scenario
from streamd.dynamics.departures import Departures, QueuePiece
from streamd.dynamics.tandem import QueueBounds, Tandem, TandemPiece

POINTS = 240
"""Points of a course. Loss, peaks and their times are exact, independent of the points; the longest delay is
that of the points and of the moments at which a rate changes or a buffer becomes full or empty."""
KERNEL_FRAME_BYTES = 1280
"""Memory that a small datagram takes in the kernel's buffer."""
FILL_IN_BURSTS = 0.6
"""How full the batches of a burst are: 0.51 to 0.64 over TCP. A batch takes whole reads of a source, which
are large in a burst. A read that does not fit any more begins the next batch, so up to half stays empty."""
_FASTEST_PER_S = 1e12
_NONE = 1e-6
"""Fewer records than this are an error of rounding."""


@dataclass(slots=True)
class Loss:
    """Frames or records that one buffer lost because it was full."""

    kind: str
    """`source`, `sink`, or `kernel` for the kernel's buffer of a UDP source that stops reading."""
    name: str
    when_full: str
    lost: float
    first_s: float


@dataclass(slots=True)
class Track:
    """One buffer over time."""

    kind: str
    name: str
    most: float
    held: list[float]
    peak: float
    peak_s: float

    @property
    def share(self) -> float:
        """The largest part of the buffer that was used."""
        return self.peak / self.most


@dataclass(slots=True)
class FlowPath:
    """One source and one sink of its line over time: frames of the source, records of the sink."""

    source: str
    sink: str
    outside: Track
    """What waits at the senders or, if they cannot wait, in the kernel."""
    buffer: Track
    sink_buffer: Track
    lost: list[float]
    delay_s: list[float | None]
    """Delay of a frame that arrives then, if it is not lost. None: not through before the end of the
    scenario."""
    longest_delay_s: float
    """The longest of those that are through before the end."""
    losses: list[Loss]
    waits_from_s: float | None
    """When senders begin to wait, None if they never do."""

    @property
    def total_lost(self) -> float:
        """Everything lost."""
        return self.lost[-1]


@dataclass(slots=True)
class Course:
    """All paths of a scenario over the same points of time."""

    at_s: list[float]
    paths: list[FlowPath]

    def worst(self) -> list[FlowPath]:
        """The path of each source that loses most, or else fills its buffers most."""
        found: dict[str, FlowPath] = {}
        for path in self.paths:
            other = found.get(path.source)
            if other is None or _badness(path) > _badness(other):
                found[path.source] = path
        return list(found.values())

    @property
    def losses(self) -> list[Loss]:
        """The losses of the worst path of each source, in the order of time."""
        return sorted((loss for path in self.worst() for loss in path.losses), key=lambda loss: loss.first_s)

    @property
    def lost(self) -> list[float]:
        """Everything lost until each point."""
        return [sum(values) for values in zip(*(path.lost for path in self.worst()), strict=True)]

    @property
    def delay_s(self) -> list[float | None]:
        """The longest delay at each point."""
        return [_longest(values) for values in zip(*(path.delay_s for path in self.paths), strict=True)]

    @property
    def longest_delay_s(self) -> float:
        """The longest delay of all that is through before the end."""
        return max((path.longest_delay_s for path in self.paths), default=0.0)

    @property
    def tracks(self) -> list[Track]:
        """Each buffer once; those of a sink are summed over the sources."""
        found = [path.buffer for path in self.worst()]
        sinks: dict[str, Track] = {}
        for path in self.paths:
            one = path.sink_buffer
            other = sinks.get(one.name)
            sinks[one.name] = one if other is None else _sum(other, one)
        return [*found, *sinks.values()]


def simulate(figures: Figures, scenario: Scenario, *, points: int = POINTS) -> Course:
    """The course of the scenario. Several sources of a core, a step or a sink get their fair shares of it."""
    flows = Flows(figures, scenario)
    at_s = [scenario.for_s * point / points for point in range(points + 1)]
    paths = [
        _Run(flows, line, source, sink, at_s).path()
        for line in figures.lines
        for source in line.sources
        for sink in line.sinks
        if line.per_frame.get(sink.name, 0.0) > 0
    ]
    return Course(at_s, paths)


class _Run:
    """The simulation of one path."""

    def __init__(
        self, flows: Flows, line: LineFigures, source: SourceFigures, sink: SinkFigures, at_s: Sequence[float]
    ) -> None:
        self._flows, self._line, self._source, self._sink, self._at_s = flows, line, source, sink, at_s
        self._yields = line.per_frame[sink.name]
        share = flows.share_of_sink(source.name, sink.name)
        fill = FILL_IN_BURSTS if flows.has_bursts(source.name) else 1.0
        in_hand = line.in_hand * flows.share_of_line(source.name) * fill
        under_way = sink.under_way(flows.into_sink_per_s(sink.name)) * share
        frames, records = _queue(source.buffer, 1.0, in_hand), _queue(sink.buffer, share, under_way)
        self._tandem = Tandem(
            frames,
            records,
            records_per_frame=self._yields,
            source_frames=min(frames.most, source.waiting),
            sink_records=min(records.most, sink.waiting * share),
            # A sender of datagrams does not wait: they are in the kernel's buffer.
            outside=math.inf
            if source.receive_buffer_bytes is None
            else source.receive_buffer_bytes / KERNEL_FRAME_BYTES,
        )
        self._peaks = [_Peak(amount) for amount in self._held()]
        self._losses = {
            "kernel": Loss("kernel", source.name, "block", 0.0, 0.0),
            "source": Loss("source", source.name, source.buffer.when_full, 0.0, 0.0),
            "sink": Loss("sink", sink.name, sink.buffer.when_full, 0.0, 0.0),
        }
        self._waits_from_s: float | None = None
        before = self._held()
        self._begins = before[0] + before[1], before[2]
        self._of_source: list[QueuePiece] = []
        self._of_sink: list[QueuePiece] = []

    def path(self) -> FlowPath:
        """The course of the path."""
        held: list[list[float]] = [[], [], []]
        lost: list[float] = []
        now_s = 0.0
        for until_s, is_point in self._stops():
            if until_s > now_s:
                self._advance(now_s, until_s)
                now_s = until_s
            if is_point:
                for values, amount in zip(held, self._held(), strict=True):
                    values.append(amount)
                lost.append(sum(loss.lost for loss in self._losses.values()))
        kinds = ("kernel" if self._has_kernel else "senders", "source", "sink")
        names = (self._source.name, self._source.name, self._sink.name)
        mosts = (self._tandem.outside, self._tandem.source.most, self._tandem.sink.most)
        outside, buffer, sink_buffer = (
            Track(kind, name, most, values, peak.held, peak.at_s)
            for kind, name, most, values, peak in zip(kinds, names, mosts, held, self._peaks, strict=True)
        )
        delay_s, longest_delay_s = self._delays()
        return FlowPath(
            self._source.name,
            self._sink.name,
            outside,
            buffer,
            sink_buffer,
            lost,
            delay_s,
            longest_delay_s,
            [loss for loss in self._losses.values() if loss.lost > _NONE],
            self._waits_from_s,
        )

    @property
    def _has_kernel(self) -> bool:
        return math.isfinite(self._tandem.outside)

    def _held(self) -> tuple[float, float, float]:
        return self._tandem.held_back, self._tandem.source_frames, self._tandem.sink_records

    def _advance(self, now_s: float, until_s: float) -> None:
        found = self._flows.at(now_s, self._line, self._source.name, self._sink.name)
        rates = [min(_FASTEST_PER_S, rate) for rate in found]
        for piece in self._tandem.pieces(until_s - now_s, *rates):
            self._enter(piece, now_s)
            now_s += piece.seconds

    def _enter(self, piece: TandemPiece, begin_s: float) -> None:
        passed = piece.passed
        self._count("kernel", passed.lost_outside, begin_s)
        self._count("source", passed.lost_at_source, begin_s)
        self._count("sink", passed.lost_at_sink, begin_s)
        held = self._held()
        if self._waits_from_s is None and not self._has_kernel and held[0] > _NONE:
            self._waits_from_s = begin_s
        for peak, amount in zip(self._peaks, held, strict=True):
            if amount > peak.held:
                peak.held, peak.at_s = amount, begin_s + piece.seconds
        gone = passed.processed + self._thrown_away(passed.lost_at_source, self._tandem.source)
        self._of_source.append(QueuePiece(begin_s, gone, held[0] + held[1], piece.takes_per_s > 0))
        gone = passed.stored + self._thrown_away(passed.lost_at_sink, self._tandem.sink)
        self._of_sink.append(QueuePiece(begin_s, gone, held[2], piece.stores_per_s > 0))

    @staticmethod
    def _thrown_away(lost: float, bounds: QueueBounds) -> float:
        """What a full buffer lost from its front, so that those behind it moved up."""
        return lost if bounds.when_full == "drop_oldest" else 0.0

    def _delays(self) -> tuple[list[float | None], float]:
        """The delays at the points, and the longest one."""
        end_s = self._at_s[-1]
        source = Departures(self._begins[0], self._of_source, end_s)
        sink = Departures(self._begins[1], self._of_sink, end_s)

        def delay_s(at_s: float) -> float | None:
            taken_s = source.leaves_s(at_s)
            stored_s = None if taken_s is None else sink.leaves_s(taken_s)
            return None if stored_s is None else max(0.0, stored_s - at_s)

        found = [delay_s(at_s) for at_s in self._at_s]
        others = [delay_s(at_s) for at_s in source.edges_s]
        return found, max((delay for delay in (*found, *others) if delay is not None), default=0.0)

    def _count(self, kind: str, lost: float, at_s: float) -> None:
        loss = self._losses[kind]
        if loss.lost <= _NONE < loss.lost + lost:
            loss.first_s = at_s
        loss.lost += lost

    def _stops(self) -> Iterator[tuple[float, bool]]:
        """The times at which a rate changes or a point is recorded."""
        points = set(self._at_s)
        for stop_s in sorted(points | self._flows.changes(self._at_s[-1])):
            yield stop_s, stop_s in points


@dataclass(slots=True)
class _Peak:
    held: float = 0.0
    at_s: float = 0.0


def _queue(bounds: BufferFigures, share: float, more: float = 0.0) -> QueueBounds:
    """A share of a buffer, of at least one item, and more that is held elsewhere."""
    return QueueBounds(max(1.0, bounds.most * share) + more, math.inf, 0.0, bounds.when_full)


def _badness(path: FlowPath) -> tuple[float, float, float, float]:
    return (path.total_lost, path.outside.peak, path.sink_buffer.share + path.buffer.share, path.buffer.peak)


def _longest(values: Sequence[float | None]) -> float | None:
    return None if any(value is None for value in values) else max(v for v in values if v is not None)


def _sum(one: Track, other: Track) -> Track:
    held = [a + b for a, b in zip(one.held, other.held, strict=True)]
    peak = max(one.peak, other.peak, max(held, default=0.0))
    return Track(one.kind, one.name, one.most + other.most, held, peak, one.peak_s)
