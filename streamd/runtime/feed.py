"""A source as its workers see it, and the pipelines that read it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from streamd.core.books import FrameBook, RecordBook
from streamd.core.contracts import AnyCodec
from streamd.core.frames import Frames
from streamd.runtime.buffer import Buffer
from streamd.runtime.connections import Connections
from streamd.runtime.pipeline import Pipeline


@dataclass(slots=True)
class Route:
    """One pipeline that reads a source, and the book of that source's records in it."""

    pipeline: Pipeline
    records: RecordBook


@dataclass(slots=True)
class Feed:
    """One source: its buffer, its codec, its book, and the pipelines that read it."""

    buffer: Buffer[Frames]
    codec: AnyCodec
    frames: FrameBook
    routes: list[Route]
    connections: Connections = field(default_factory=Connections)
    credit_bytes: int = 0
    """What it may still be served before the next source has its turn."""
    taken: Callable[[int, float], None] = lambda _count, _mono_s: None
    """Called with each number of frames taken out of the buffer, and when (`Intake.taken`)."""
    before: AnyCodec | None = None
    """The codec of the source before a reload, where `codec` adopts what that one holds."""
    is_due: bool = False
    """Whether the deadline of the codec has come."""
