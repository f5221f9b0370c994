"""The figures that a scenario is computed from: loads, costs and bounds, and where each came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from streamd.core.errors import EnvironmentFault
from streamd.core.settings import WhenFull

FRAME_BYTES = 256.0
"""The assumed memory of a frame while no frame waits, so that none can be weighed."""
READ_S = 50e-6
"""Reading may cost so many seconds for each frame if it was not measured: a datagram at a time costs less."""
RECORD_WEIGHT = 8.0
"""The assumed memory of a record as a multiple of its frame's: that of a dict decoded from JSON."""


class UnknownCapacityError(EnvironmentFault):
    """The figures do not show what the daemon can do. The text says why, and how to find it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferFigures:
    """A bounded buffer, and the memory of each of its items."""

    max_records: int
    max_bytes: int
    item_bytes: float
    when_full: WhenFull

    @property
    def most(self) -> float:
        """The items that fit: the first of both bounds."""
        return min(float(self.max_records), self.max_bytes / max(1.0, self.item_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFigures:
    """One source: its load and its buffer."""

    name: str
    buffer: BufferFigures
    load: Sequence[tuple[float, float]]
    """The arrivals: (seconds, frames a second), one after another. The last one goes on."""
    waiting: float = 0.0
    """Frames in the buffer at the beginning."""
    dispersion: float | None = None
    """Variance of the arrivals in a second divided by their mean. None: not measured (1 for Poisson)."""
    receive_buffer_bytes: int | None = None
    """The kernel's buffer of a UDP socket."""

    @property
    def rate_per_s(self) -> float:
        """The mean rate of arrivals."""
        seconds = sum(s for s, _ in self.load)
        return sum(s * rate for s, rate in self.load) / seconds if seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFigures:
    """A step that waits (a thread, a process, an async function): its time does not count for the loop."""

    name: str
    record_s: float
    """Seconds that one batch under way takes for each record."""
    slots: int
    """Batches that may be under way at the same time."""
    per_frame: float = 1.0
    """Records that come to it for each frame."""
    key: str = ""
    """Its place in the configuration."""

    @property
    def frames_per_s(self) -> float:
        """The frames a second that it keeps up with."""
        seconds = self.record_s * self.per_frame
        return self.slots / seconds if seconds > 0 else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkFigures:
    """One sink: what it writes and its buffer."""

    name: str
    buffer: BufferFigures
    capacity_per_s: float
    """Records a second."""
    waiting: float = 0.0
    max_wait_s: float = 0.2
    enough: int = 4000
    """So many waiting records begin a commit before `max_wait_s`."""
    at_least: bool = False
    """Whether it was measured on a light load: the true capacity may be much higher."""
    most_written: int = 0
    """Most records of a commit. Those of the commit under way are not in the buffer. 0: not counted."""
    attempt_s: float | None = None
    """Seconds after which an attempt fails in a stall. None: the write hangs, and goes on when that ends."""

    def under_way(self, records_per_s: float) -> float:
        """Records of the commit under way when the sink stalls, or always if it cannot keep up."""
        if records_per_s > self.capacity_per_s:
            return self.most_written
        return min(self.most_written, records_per_s * self.max_wait_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFigures:
    """Sources, the workers that they share, and the sinks behind these."""

    name: str
    """The pipelines."""
    sources: tuple[SourceFigures, ...]
    sinks: tuple[SinkFigures, ...]
    per_frame: Mapping[str, float]
    """Records offered to each sink for each frame."""
    process_s: float
    """Seconds of the loop for each frame in the workers: decoding and the steps that do not wait."""
    records_per_frame: float = 1.0
    steps: tuple[StepFigures, ...] = ()
    in_hand: float = 0.0
    """Frames that workers may hold, beside the buffers, in batches that wait for a step."""
    at_least: bool = False
    """Whether `process_s` was measured on a light load, in small batches: the true cost may be lower."""

    @property
    def is_loop_bound(self) -> bool:
        """Whether the loop limits the line, and not a step that waits."""
        return all(self.process_s * step.frames_per_s >= 1 for step in self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The whole daemon."""

    lines: tuple[LineFigures, ...]
    read_s: float
    """Seconds of the loop for each frame beside the workers: reading, and rows of the sinks."""
    assumed: tuple[str, ...] = ()
    """Where the figures came from and over how long they were measured, one sentence each."""
    loop_lag_s: float | None = None
    """The longest delay of the event loop that was seen."""
    free_steps: tuple[str, ...] = ()
    """Types of steps whose cost is not known, and is taken as nothing."""
    guessed_codecs: tuple[str, ...] = ()
    """Types of codecs whose cost is not known, and is taken as that of `json`."""
    is_reading_known: bool = True
    """Whether `read_s` was measured, alone or within `process_s`; else it is 0."""

    def assuming(self, sentence: str) -> "Figures":
        """The same figures with one more sentence, the first."""
        return replace(self, assumed=(sentence, *self.assumed))

    @property
    def sources(self) -> list[SourceFigures]:
        """Every source."""
        return [source for line in self.lines for source in line.sources]

    @property
    def sinks(self) -> dict[str, SinkFigures]:
        """Every sink by name; several lines may share one."""
        return {sink.name: sink for line in self.lines for sink in line.sinks}

    @property
    def attempts_s(self) -> dict[str, float]:
        """Seconds of an attempt of each sink whose writes fail in a stall."""
        return {name: one.attempt_s for name, one in self.sinks.items() if one.attempt_s is not None}
