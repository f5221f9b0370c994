"""The contract of codecs."""

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.schema import Schema
from streamd.core.settings import Settings

C = TypeVar("C", bound=Settings)


class Frame(NamedTuple):
    """One frame with its sender."""

    payload: bytes
    peer: Peer
    """Who sent it. One connection has one object: two connections of one process have equal texts."""
    received_at: float
    """When it was read (wall clock, seconds)."""


@dataclass(slots=True)
class BadFrame:
    """A frame, or with `element` one part of a decoded frame, that could not be decoded.

    `index` is its place in `Decoded.frames`, which hold its sender, time and ack.
    """

    index: int
    payload: bytes
    reason: str
    detail: str = ""
    element: bool = False


@dataclass(slots=True)
class Decoded:
    """The records of some frames. Every frame in `frames` has a fate: records, a reject, or nothing to say.

    `frames` is None where these are the frames that the codec was just given. A codec that holds frames
    leaves them out, and puts those in that it releases: what is missing counts as held until it comes back.

    `records` are dicts, or structs of the schema where `typed`. `origins` holds the index of the frame of
    each record, in ascending order; None says that record i came from frame i and nothing was rejected.
    `size_bytes` is about how much memory the records take as dicts; None: `Codec.weight` says it.
    """

    records: list[Any]
    origins: list[int] | None = None
    rejects: list[BadFrame] = field(default_factory=list)
    typed: bool = False
    frames: Frames | None = None
    size_bytes: int | None = None


@dataclass(slots=True)
class BadElement:
    """Stands for one bad part in the list that `decode_one` returns for a frame of several."""

    payload: bytes
    reason: str
    detail: str = ""


class Codec(ABC, Generic[C]):
    """Makes records of frames. Pure logic.

    A codec with options is `Codec["Name.Config"]`, one without is `Codec[Settings]`. The simplest one
    overrides `decode_one`; one that looks at sender or time, `decode_frame`; a fast one, or one that holds
    frames, `decode`.

    `typed` may be set by a pipeline before the first frame where it wants structs of the schema instead
    of dicts; a codec that has none ignores it and says so in `Decoded.typed`.
    """

    weight: ClassVar[int] = 8
    """Memory of a record as a multiple of its frame's bytes, where `Decoded.size_bytes` does not say it."""
    holds: bool = False
    """Whether it keeps frames or anything about their senders between two calls.

    Only then `forget`, `tick`, `next_deadline` and `finish` are called. Its frames stay in order for each
    sender, not among senders. A reload keeps it with what it holds if its options and schema do not change.
    """
    holds_open: bool = True
    """Whether the frames that it keeps wait for their fate: then no state of steps is stored meanwhile.

    False for a codec that settles the acks of what it keeps at once, and needs no frame of it twice.
    """
    counters: ClassVar[Mapping[str, str]] = {}
    """The names it counts, each with its meaning in one sentence."""

    needs_first: bool = False
    """Whether it needs the first frame of a file again when the file is read on from a later place."""
    alarming: frozenset[str] = frozenset()
    """Reasons of rejects that are logged: because of one of them everything that follows is rejected."""

    class Config(Settings):
        """What the configuration may say of this codec."""

    def __init__(self, config: C, schema: Schema | None) -> None:
        """Raises TypeError for a class that overrides none of the three methods that decode."""
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
        """Add to `counts`, which its owner empties into the counters of the source."""
        self.counts[name] = self.counts.get(name, 0) + n

    def place_behind(self, *, streams: bool, cut: bool) -> None:
        """Learn where the frames come from, once, before the first. Raises ValueError where that cannot work.

        `streams`: from connections or files, where the first one is a `FirstFrame`. `cut`: by a framing.
        """
        del streams, cut

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """All records of all frames, in order. Never raises for anything a frame holds."""
        return self.decode_each(frames, range(len(frames)), now)

    def decode_each(self, frames: Frames, indexes: Sequence[int], now: Now) -> Decoded:
        """The records of the frames at these indexes, one frame after the other."""
        records: list[Record] = []
        origins: list[int] = []
        rejects: list[BadFrame] = []
        payloads = frames.payloads
        plain = type(self).decode_frame is Codec.decode_frame  # then no frame has to be made
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
            for part in found if isinstance(found, list) else (found,):
                if isinstance(part, BadElement):
                    rejects.append(BadFrame(index, part.payload, part.reason, part.detail, element=True))
                else:
                    records.append(part)
                    origins.append(index)
        return Decoded(records, origins, rejects)

    def decode_frame(self, frame: Frame, now: Now) -> Record | list[Record | BadElement]:
        """As `decode_one`, for a codec that looks at the sender or the time."""
        return self.decode_one(frame.payload, now)

    def decode_one(self, payload: bytes, now: Now) -> Record | list[Record | BadElement]:
        """The record or records of one frame. Raises `BadData` where the frame as a whole is none."""
        raise NotImplementedError

    def forget(self, peer: Peer, now: Now) -> Decoded | None:
        """A connection has ended, and all its frames were decoded: give up what is kept for it.

        What was held of it is released as records, as rejects or without either.
        """
        del peer, now
        return None

    def tick(self, now: Now) -> Decoded | None:
        """The time of `next_deadline` has come."""
        del now
        return None

    def next_deadline(self) -> float | None:
        """When `tick` should be called (monotonic clock, seconds); None: not at all.

        It is asked after every call of another method.
        """
        return None

    def finish(self, now: Now) -> Decoded | None:
        """Nothing more comes, because of a stop or another codec in its place: release everything held."""
        del now
        return None


AnyCodec = Codec[Any]
"""A codec for code that does not look at its options."""
