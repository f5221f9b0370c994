"""The contract of codecs."""

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.failure import failure_of
from streamd.core.frames import FRAME_OVERHEAD_BYTES, Frames
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.schema import Schema
from streamd.core.settings import Settings

C = TypeVar("C", bound=Settings)

FIELD_BYTES = 96
"""Memory of a field's place in a dict and of a name of up to 6 letters, without that of its value."""


class Frame(NamedTuple):
    """One frame with its sender."""

    payload: bytes
    peer: Peer
    """The sender. Each connection has one `Peer` object; two connections of one process have equal texts."""
    received_at: float
    """Wall-clock time at which the frame was read, in seconds."""


@dataclass(slots=True)
class BadFrame:
    """A frame that could not be decoded or, with `element`, one part of a frame.

    `index` is the frame's index in `Decoded.frames`, which hold its sender, time and ack.
    """

    index: int
    payload: bytes
    reason: str
    detail: str = ""
    element: bool = False


@dataclass(slots=True)
class Decoded:
    """The records and rejects of some frames.

    `frames` are the frames that are now decoded; None means the frames of the current call. A codec that
    holds frames leaves these out, and adds the frames that it releases. A frame that is left out counts as
    held until it is released.

    `records` are dicts, or structs of the schema if `typed`. `origins` holds the index of each record's
    frame, in ascending order. None means that record i came from frame i and no frame was rejected.
    `size_bytes` estimates the memory of the records as dicts; if it is None, it is `Codec.size_bytes_of`.
    """

    records: list[Any]
    origins: list[int] | None = None
    rejects: list[BadFrame] = field(default_factory=list)
    typed: bool = False
    frames: Frames | None = None
    size_bytes: int | None = None


@dataclass(slots=True)
class BadElement:
    """One part of a frame that could not be decoded, in the list that `decode_one` returns."""

    payload: bytes
    reason: str
    detail: str = ""


class Codec(ABC, Generic[C]):
    """Makes records of frames. A codec is pure logic: it uses no event loop, clock, socket or logger.

    A codec with options derives from `Codec["Name.Config"]`, one without from `Codec[Settings]`. A simple
    codec overrides `decode_one`. A codec that needs the sender or the time overrides `decode_frame`. A fast
    codec, or one that holds frames, overrides `decode`.

    The daemon sets `typed` before the first frame if the pipelines accept structs of the schema instead of
    dicts. A codec without structs ignores `typed` and leaves `Decoded.typed` False.
    """

    weight: ClassVar[int] = 8
    """Memory of a record as a multiple of its frame's bytes; used if `Decoded.size_bytes` is None."""
    holds: bool = False
    """Whether the codec keeps frames, or anything about their senders, between two calls.

    `forget`, `tick`, `next_deadline` and `finish` are called only on such a codec. The frames of one sender
    stay in order; frames of different senders may be reordered. A reload that changes neither the options
    nor the schema keeps the codec and the frames that it holds. Otherwise the next codec may `adopt` them.
    """
    holds_open: bool = True
    """Whether the acks of held frames stay open. While they are open, no state of steps is stored.

    False for a codec that settles these acks at once and never needs the frames again.
    """
    holds_last: bool = False
    """Whether all held frames came behind those whose records were made, so that a state of steps may be
    stored while they are held: after a restart they are read again."""
    counters: ClassVar[Mapping[str, str]] = {}
    """The names of the counters, each with its meaning in one sentence."""

    brings: ClassVar[Mapping[str, str | Mapping[str, object]]] = {}
    """The fields of the schema with the codec's name, which a configuration can use without declaring it.

    A text is the type of a field that may be missing; a table has the keys of a field in `[schemas]`.
    """

    reads_text: ClassVar[bool] = True
    """Whether frames are text, which the option `encoding` of a source may convert."""

    redacted: bool = False
    """Whether the source redacts the records by field; the daemon sets it before the first frame.

    Then a codec rejects a frame whose fields it cannot find, and does not make one text of it.
    """
    needs_first: bool = False
    """Whether the codec needs the first frame of a file again if reading resumes at a later position."""
    alarming: frozenset[str] = frozenset()
    """Reasons of rejects that are logged, because all frames that follow will be rejected too."""

    class Config(Settings):
        """The options of this codec."""

    def __init__(self, config: C, schema: Schema | None) -> None:
        """Raises TypeError if the class overrides none of `decode_one`, `decode_frame` and `decode`."""
        cls = type(self)
        if (cls.decode, cls.decode_frame, cls.decode_one) == (
            Codec.decode,
            Codec.decode_frame,
            Codec.decode_one,
        ):
            raise TypeError(f"{cls.__name__} overrides none of decode_one, decode_frame and decode")
        self.config = config
        self.schema = schema
        self.typed = False
        self.counts: dict[str, int] = {}

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to `counts[name]`. The worker moves `counts` into the counters of the source."""
        self.counts[name] = self.counts.get(name, 0) + n

    def load(self, base_dir: Path) -> None:
        """Read the files that the options name; relative paths begin in the folder `base_dir`.

        Called once, before every other method. Raises `ConfigError` with the keys of the option.
        """

    def is_current(self) -> bool:
        """Whether the files that `load` has read are unchanged. If not, a reload names the source."""
        return True

    def size_bytes_of(self, frames: Frames, records: Sequence[Any]) -> int:
        """Memory of the records of these frames by `weight`, with that of a short frame for each record more.

        So a frame of many short lines counts as much as if each line were a frame. Each field of a dict
        counts at least with the memory of its place and of a short name.
        """
        more = max(0, len(records) - len(frames))
        fields = sum(map(len, records)) if records and type(records[0]) is dict else 0
        return max((frames.size_bytes + FRAME_OVERHEAD_BYTES * more) * self.weight, FIELD_BYTES * fields)

    def place_behind(self, *, streams: bool, cut: bool) -> None:
        """Learn how the source makes frames. Called once, before the first frame.

        `streams`: frames come from connections or files, and the first of each is a `FirstFrame`. `cut`: a
        framing cuts them. Raises ValueError if the codec cannot decode such frames.
        """
        del streams, cut

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """All records of all frames, in order. Never raises because of the content of a frame."""
        return self.decode_each(frames, range(len(frames)), now)

    def decode_each(self, frames: Frames, indexes: Sequence[int], now: Now) -> Decoded:
        """The records of the frames at these indexes, one frame after the other.

        A frame for which `decode_one` or `decode_frame` raises another exception than `BadData`, or returns
        something that is no record, is rejected as `exception` or `bad_result`.
        """
        records: list[Record] = []
        origins: list[int] = []
        rejects: list[BadFrame] = []
        payloads = frames.payloads
        plain = type(self).decode_frame is Codec.decode_frame  # saves making a `Frame`
        for index in indexes:
            payload = payloads[index]
            try:
                found = (
                    self.decode_one(payload, now)
                    if plain
                    else self.decode_frame(Frame(payload, frames.peer(index), frames.time(index)), now)
                )
            except BadData as bad:
                rejects.append(BadFrame(index, payload, bad.reason, bad.detail))
                continue
            except Exception as error:  # noqa: BLE001 - a fault in a codec of another package costs one frame
                rejects.append(BadFrame(index, payload, "exception", failure_of(error).text))
                continue
            if type(found) is dict:
                records.append(found)
                origins.append(index)
                continue
            parts: list[Any] = found if isinstance(found, list) else [found]
            if wrong := [part for part in parts if not isinstance(part, dict | BadElement)]:
                detail = f"the codec returned {type(wrong[0]).__name__} instead of a dict"
                rejects.append(BadFrame(index, payload, "bad_result", detail))
                continue
            for part in parts:
                if isinstance(part, BadElement):
                    rejects.append(BadFrame(index, part.payload, part.reason, part.detail, element=True))
                else:
                    records.append(part)
                    origins.append(index)
        return Decoded(records, origins, rejects)

    def decode_frame(self, frame: Frame, now: Now) -> Record | list[Record | BadElement]:
        """As `decode_one`, for a codec that needs the sender or the time."""
        return self.decode_one(frame.payload, now)

    def decode_one(self, payload: bytes, now: Now) -> Record | list[Record | BadElement]:
        """The record or records of one frame. Raises `BadData` if the whole frame cannot be decoded."""
        raise NotImplementedError

    def forget(self, peer: Peer, now: Now) -> Decoded | None:
        """Release the frames that are held for a connection that has ended.

        Called when all frames of the connection have been decoded. The released frames may have records,
        rejects or neither.
        """
        del peer, now
        return None

    def tick(self, now: Now) -> Decoded | None:
        """Called when the time of `next_deadline` is reached; returns released frames."""
        del now
        return None

    def next_deadline(self) -> float | None:
        """When `tick` should be called (monotonic clock, seconds); None: never.

        The worker asks after every call of another method.
        """
        return None

    def can_adopt(self, old: "AnyCodec") -> bool:
        """Whether this codec, which replaces `old` at a reload, can take over the frames that `old` holds.

        Called while `old` still decodes. If it returns False, `finish` of `old` is called.
        """
        del old
        return False

    def adopt(self, old: "AnyCodec") -> None:
        """Take over the held frames and the state of `old`, for which `can_adopt` returned True.

        Called once, before the first frame of this codec and after the last call of `old`. In the books, the
        frames stay held.
        """

    def finish(self, now: Now) -> Decoded | None:
        """Release all held frames. Called at a stop, or before another codec replaces this one."""
        del now
        return None


AnyCodec = Codec[Any]
"""A codec with options of any type."""
