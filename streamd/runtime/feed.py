"""The workers' view of a source, and the pipelines that read it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from streamd.core.books import FrameBook, RecordBook
from streamd.core.contracts import AnyCodec
from streamd.core.frames import Frames
from streamd.runtime.buffer import Buffer
from streamd.runtime.claims import Claims
from streamd.runtime.connections import Connections
from streamd.runtime.pipeline import Pipeline
from streamd.runtime.redaction import SourceRedaction
from streamd.runtime.schema_checks import SchemaChecks
from streamd.runtime.taps import Point


@dataclass(slots=True)
class Route:
    """One pipeline that reads a source, and the record book of both."""

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
    """Bytes that may still be taken before the turn of the next source."""
    taken: Callable[[int, float, float], None] = lambda _count, _wait_s, _mono_s: None
    """Called after frames were taken out of the buffer, as `Intake.taken`."""
    before: AnyCodec | None = None
    """The codec of the source before a reload, if `codec` adopts the frames that it holds."""
    resumes: bool = False
    """Whether the source continues where it stopped, so that a restart misses nothing."""
    checks: SchemaChecks | None = None
    """Counts what the schema of the source checks; None without a schema."""
    redaction: SourceRedaction | None = None
    """Redacts the records, rejects and senders of the source; None without the option `redact`."""
    tap: Point | None = None
    """The point behind the codec and `redaction`, while taps look there."""
    claims: Claims | None = None
    """Claims the inputs of the source at the sinks; None for a source that has none."""
    is_due: bool = False
    """Whether the deadline of the codec is reached."""
