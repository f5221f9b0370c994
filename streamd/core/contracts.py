"""All contracts between the daemon and its components, on one page.

A component is one file: `streamd/<kind>/<type>.py` holds one class with a nested pydantic `Config` whose
field descriptions are its documentation. Simple by default, fast by override: a newcomer writes
`decode_one` or `process_one`, a hot component overrides the batch method. Wrappers, not authors, add
buffering, retry, counting and acks.

Sources and sinks have `open`, and `rehearse` beside it: every refusal of `open` that this host can be asked
about without a change belongs into a piece that both call, so that `streamd check` and a reload's dry run
say it first. Framings, codecs and steps open nothing: making one reads its files and refuses what is wrong.
"""

import socket
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from streamd.core.batch import Batch, Record
from streamd.core.books import FrameBook
from streamd.core.dead_letter import DeadLetterOffice
from streamd.core.errors import BadData, Place
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Address, Settings, SinkSettings, SourceSettings


class Framer(ABC):
    """Cuts one connection's bytes into frames; one instance for each connection, pure logic.

    Any split of the same bytes gives the same frames. It holds at most `max_frame` bytes of an unfinished
    frame (and its prefix), whatever a length field may promise. What it counts it adds to `counts` under a
    name of the books (`truncated`, `oversize_dropped`, `discarded_bytes`, …); its owner empties that.
    """

    delimiter: ClassVar[bytes] = b""
    """What ends each frame and stands nowhere else; empty where the framing has no such bytes."""
    nul_is_data: ClassVar[bool] = False
    """Whether a NUL byte between two frames means something."""

    class Config(Settings):
        """What the configuration may say of this framing."""

    def __init__(self, config: Any, max_frame: int, oversize: str) -> None:
        self.config = config
        self.max_frame = max_frame
        self.oversize = oversize
        self.counts: dict[str, int] = {}

    @abstractmethod
    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes. Raises `FramingError` where the stream cannot go on."""

    @abstractmethod
    def feed_eof(self) -> list[bytes]:
        """What is left when the peer has closed: flagged `unterminated`, or counted as discarded bytes."""

    @property
    @abstractmethod
    def waiting_bytes(self) -> int:
        """Bytes held of a frame that has begun and is not finished."""

    @property
    @abstractmethod
    def between_frames(self) -> bool:
        """Whether the next byte begins a frame: nothing is held, and no frame that was cut off goes on."""

    def count(self, name: str, n: int = 1) -> None:
        """Add to what the owner will put in the books."""
        self.counts[name] = self.counts.get(name, 0) + n


@dataclass(slots=True)
class BadFrame:
    """A frame, or with `element` one part of a decoded frame, that could not be decoded."""

    index: int
    payload: bytes
    reason: str
    detail: str = ""
    element: bool = False


@dataclass(slots=True)
class Decoded:
    """What a codec made of a list of frames.

    `records` are dicts, or structs of the schema where `typed`. `origins` holds the index of the frame of
    each record; None says that record i came from frame i and nothing was rejected. `notes` are counters
    for the source's book.
    """

    records: list[Any]
    origins: list[int] | None = None
    rejects: list[BadFrame] = field(default_factory=list)
    typed: bool = False
    notes: dict[str, int] | None = None


@dataclass(slots=True)
class BadElement:
    """Stands for one bad part in the list that `decode_one` returns for a frame of several."""

    payload: bytes
    reason: str
    detail: str = ""


class Codec(ABC):
    """Makes records of frames. Pure logic.

    `typed` may be set by a pipeline before the first frame where it wants structs of the schema instead
    of dicts; a codec that has none ignores it and says so in `Decoded.typed`.
    """

    weight: ClassVar[int] = 8
    """Memory of a record as a multiple of its frame's bytes, where it is not rich in containers."""

    class Config(Settings):
        """What the configuration may say of this codec."""

    def __init__(self, config: Any, schema: Schema | None) -> None:
        self.config = config
        self.schema = schema
        self.typed = False

    def weigh(self, payloads: list[bytes], size_bytes: int) -> int:
        """About how many bytes of memory the dicts take that are made of these frames."""
        del payloads
        return size_bytes * self.weight

    def decode(self, payloads: list[bytes], now: Now) -> Decoded:
        """All records of all frames, in order. Never raises for anything a frame holds."""
        done = Decoded([], [])
        origins: list[int] = []
        for index, payload in enumerate(payloads):
            try:
                found = self.decode_one(payload, now)
            except BadData as bad:
                done.rejects.append(BadFrame(index, payload, bad.reason, bad.detail))
                continue
            for part in found if isinstance(found, list) else (found,):
                if isinstance(part, BadElement):
                    done.rejects.append(BadFrame(index, part.payload, part.reason, part.detail, element=True))
                else:
                    done.records.append(part)
                    origins.append(index)
        done.origins = origins
        return done

    @abstractmethod
    def decode_one(self, payload: bytes, now: Now) -> Record | list[Record | BadElement]:
        """The record or records of one frame. Raises `BadData` where the frame as a whole is none."""


class Drop:
    """The type of `DROP`."""

    def __repr__(self) -> str:
        return "streamd.DROP"


DROP = Drop()
"""What a step returns to filter a record out."""


@dataclass(slots=True)
class BadRecord:
    """A record a step could not use; `error` is set where the step's own code failed.

    `kind` names what such rejects have in common (`ValueError (steps.py:12)`): the first of each kind is
    logged. Empty: none is, because rejecting is what the step is for.
    """

    record: Any
    reason: str
    detail: str = ""
    error: BaseException | None = None
    kind: str = ""


@dataclass(slots=True)
class Processed:
    """What a step made of records: len(in) + emitted = len(records) + filtered + absorbed + len(rejects)."""

    records: list[Record]
    filtered: int = 0
    absorbed: int = 0
    emitted: int = 0
    rejects: list[BadRecord] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class Offload:
    """How a step is run that must not hold up the loop.

    `loop` awaits `process_async` on the loop; `thread` calls `process` in threads; `process` makes the
    step anew in worker processes, of its class, config, name and folder, and calls `process` there.
    """

    executor: Literal["loop", "thread", "process"]
    concurrency: int
    """Most batches under way."""
    timeout_s: float
    """What takes longer costs its batch."""
    max_batches: int | None = None
    """After so many a worker process is replaced."""


class Step(ABC):
    """One step's logic; one instance in each pipeline that names it. Pure logic, always sees dicts.

    Where `offload` is set, batches of it may be under way at the same time; they go on in order.
    """

    offload: Offload | None = None

    class Config(Settings):
        """What the configuration may say of this step."""

    def __init__(self, config: Any, context: "StepContext") -> None:
        self.config = config
        self.context = context

    def process(self, records: list[Record], now: Now) -> Processed:
        """All records of a batch. Raises `BadData` for none of them: a bad record is in `rejects`."""
        done = Processed([])
        for record in records:
            try:
                result = self.process_one(record, now)
            except BadData as bad:
                done.rejects.append(BadRecord(record, bad.reason, bad.detail))
                continue
            if result is DROP:
                done.filtered += 1
            elif isinstance(result, list):
                done.records += result
                done.emitted += max(0, len(result) - 1)
                done.filtered += not result
            elif isinstance(result, dict):
                done.records.append(result)
            else:
                done.rejects.append(
                    BadRecord(record, "no_result", f"the step returned {type(result).__name__}")
                )
        return done

    async def process_async(
        self, records: list[Record], now: Now, is_cancelled: Callable[[], bool]
    ) -> Processed:
        """The same for a step that awaits something on the loop. `is_cancelled` tells whether whoever runs it
        has cancelled it: what it raises then must be let through.
        """
        return self.process(records, now)

    @abstractmethod
    def process_one(self, record: Record, now: Now) -> Record | list[Record] | Drop:
        """The record, changed or not; several; or `DROP`. Raises `BadData` to reject it."""

    def open(self) -> None:  # noqa: B027 - most steps need nothing
        """Make what it needs, once, in the process where it runs. Raises `EnvironmentFault`.

        Its constructor makes nothing that is large or slow: checking a configuration constructs every step.
        """

    async def close(self) -> None:  # noqa: B027 - most steps hold nothing
        """Give back what `open` has made. It may be opened again."""

    def is_current(self) -> bool:
        """Whether what it was made of beside its configuration (files) has not changed since."""
        return True

    def files(self) -> Any:
        """What a worker process takes for the files the step was made of, whatever they have become since."""
        return None

    @classmethod
    def take_files(cls, files: Any) -> None:
        """Take what `files` gave in another process, before the step is made here."""
        del files

    def fields_after(self) -> frozenset[str] | None:
        """The names a record may have behind this step; None where that cannot be known."""
        return None


@dataclass(slots=True, frozen=True)
class StepContext:
    """What a step may know of its place. `schema` is set where all sources of the pipeline share one."""

    name: str
    pipeline: str
    schema: Schema | None
    base_dir: Path
    """Folder of the file that configured it: relative paths start here."""
    fields: frozenset[str] | None = None
    """The names a record may have here (the schema's, then what each step's `fields_after` says); None where
    that is not known."""


class Outlet(Protocol):
    """Where a source puts what it reads. Counting, policy and buffering happen behind it."""

    def offer(self, frames: Frames) -> bool:
        """Take the frames. False: full, stop reading until the callback comes. Nothing offered is refused."""

    def on_resume(self, callback: Callable[[], None]) -> None:
        """Called each time there is room again after `offer` said False."""


class Sockets(Protocol):
    """The listening sockets of the process; some outlive the source that reads them."""

    def take(self, listen: Address, kind: socket.SocketKind, owner: str) -> tuple[socket.socket, Address]:
        """A bound, non-blocking socket and the address it has. Raises `EnvironmentFault`."""

    def give_back(self, listen: Address, kind: socket.SocketKind) -> bool:
        """The taken one is read no more. Whether nobody else holds the socket."""

    def rehearse(self, listen: Address, kind: socket.SocketKind, owner: str) -> None:
        """Raises what `take` would, and binds nothing that stays bound."""


@dataclass(slots=True, frozen=True)
class SourceContext:
    """What a source is given: its name, its book, and a maker of framers where it reads a byte stream."""

    name: str
    book: FrameBook
    new_framer: Callable[[], Framer] | None
    base_dir: Path = Path()
    """Folder of the file that configured it: relative paths of what it reads start here."""
    state_dir: Path = Path()
    """Where relative paths of what it makes start (sockets, remembered positions)."""
    sockets: Sockets | None = None
    """None: a listener makes its own."""
    files: Any = None
    """What the source's `read_files` has made."""
    configured: frozenset[str] = frozenset()
    """The names of all sources of the configuration."""


class Source(ABC):
    """An edge that reads. `stop` takes no more from outside; what was read is still offered."""

    opens_beside: ClassVar[bool] = False
    """Whether it can be opened while the one that it replaces on a reload is not closed yet."""
    address: Address | str
    """Where it listens or reads; after `open`, with the port the system chose."""

    class Config(SourceSettings):
        """What the configuration may say of this source."""

    def __init__(self, config: Any, context: SourceContext) -> None:
        self.config = config
        self.context = context

    @abstractmethod
    async def open(self, outlet: Outlet) -> None:
        """Bind and begin to read. Raises `EnvironmentFault`."""

    @abstractmethod
    def rehearse(self) -> None:
        """Raise what `open` would, in the same words, and change nothing: no file, lock or address is kept.

        It blocks. Raises `Taken` last: what a running daemon of this configuration holds is no refusal.
        """

    @property
    def open_connections(self) -> int:
        """Connections now; 0 where the kind of source has none."""
        return 0

    @property
    def certificate_expires_at_wall_s(self) -> float | None:
        """Until when its own certificate holds; None where it has none."""
        return None

    @classmethod
    def read_files(cls, config: Any, base_dir: Path) -> Any:
        """What it needs of files that its settings name and somebody may replace (certificates).

        It is read before anything is changed and given as `context.files`; it compares equal where they are
        as they were, and a reload need do nothing. Raises `EnvironmentFault`.
        """
        del config, base_dir

    @property
    def places(self) -> list[Place]:
        """What it holds while it is open, as `Taken` names it."""
        return []

    def refresh(self) -> None:  # noqa: B027 - most sources count everything themselves
        """Bring the numbers that are kept elsewhere (the kernel's drops) into the book."""

    def can_become(self, config: Any) -> bool:
        """Whether a reload with these settings of its type keeps it, with all it has open."""
        return bool(config == self.config)

    def become(self, config: Any, context: SourceContext) -> None:
        """Go on with settings that `can_become` has agreed to."""
        self.config = config
        self.context = context

    @abstractmethod
    async def stop(self) -> None:
        """Take no more, offer what was read, close. Safe to call twice."""


@dataclass(slots=True)
class Written:
    """What one write did, now that it is committed: per batch the number rejected, and the rows replaced.

    `dropped` is given by a sink whose way out is gone for good: per batch what it gave up (reason `closed`).
    """

    rejected: list[int]
    replaced: list[int]
    dropped: list[int] | None = None


@dataclass(slots=True, frozen=True)
class SinkContext:
    """What a sink is given. `state_dir` is where relative output paths start."""

    name: str
    schemas: "dict[str, Schema]"
    state_dir: Path
    dead_letters: DeadLetterOffice
    databases: Any
    """The process's `streamd.sqlite.databases.Databases`: one writer for each file."""
    notes: Counter[str] = field(default_factory=Counter)
    """Numbers beside the books, by name; they go on where a reload makes the sink anew."""
    base_dir: Path = Path()
    """Folder of the file that configured it: relative paths of what it reads start here."""


class Sink(ABC):
    """An edge that writes. One `write` at a time; it returns when everything in it is committed."""

    opens_beside: ClassVar[bool] = False
    """Whether it can be opened while the one that it replaces on a reload is not closed yet."""

    class Config(SinkSettings):
        """What the configuration may say of this sink."""

    def __init__(self, config: Any, context: SinkContext) -> None:
        self.config = config
        self.context = context
        self.notes = context.notes

    def accepts_typed(self, schema: Schema) -> bool:
        """Whether structs of this schema can be written without a dict being made of them."""
        del schema
        return False

    @property
    def trouble(self) -> tuple[str, float] | None:
        """What is wrong though nothing may be written just now, and since when on the monotonic clock."""
        return None

    @abstractmethod
    async def open(self) -> None:
        """Make ready. Raises `EnvironmentFault` or `ConfigError`."""

    @abstractmethod
    def rehearse(self) -> list[str]:
        """Raise what `open` would, in the same words, and change nothing: no file, table or lock is made.

        Returns what `open` would change in what is there (SQL statements). It blocks. Raises `Taken` last:
        what a running daemon of this configuration holds is no refusal.
        """

    @property
    def places(self) -> list[Place]:
        """What it holds while it is open, as `Taken` names it; databases are known to the process."""
        return []

    @abstractmethod
    async def write(self, batches: Sequence[Batch]) -> Written:
        """Commit all batches; records that cannot be stored go to the dead letters first.

        Raises `SinkError` where nothing was committed and the same batches should be tried again.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release everything."""
