"""The contract of codecs."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings


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
