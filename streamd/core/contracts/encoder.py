"""The contract of encoders."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.failure import failure_of
from streamd.core.settings import Settings

C = TypeVar("C", bound=Settings)

Separation = Literal["newline", "octet_counting", "nul", "none"]
"""What separates messages in a stream: the line end behind each, its length in bytes and a space before it
(RFC 6587 section 3.4.1), a NUL behind it, or nothing.
"""


class RecordOrigin(NamedTuple):
    """Where a record came from, for formats in which every message has a time and a host."""

    received_at: float
    """Wall-clock time at which the record was read, in seconds."""
    peer: str | None
    """The sender; None if a step made the record without one."""
    source: str
    """The name of the source."""


OriginOf = Callable[[int], RecordOrigin]
"""Gives the origin of the record at an index."""


@dataclass(slots=True)
class Encoded:
    """The messages of some records in order, without those of the rejected records.

    `rejects` has the index of each rejected record, in ascending order, with the reason.
    """

    messages: list[bytes]
    rejects: dict[int, BadData] = field(default_factory=dict)


class Encoder(ABC, Generic[C]):
    """Makes a message of each record, for sinks and for `streamd send --as`. It is pure logic, as a codec is.

    A message has at least one byte and is complete without its neighbours. It has no line end or length
    around it: the sink adds what separates two messages. An encoder never changes a record, because other
    sinks share it. Keys of a record that begin with `@` are never encoded: the sink has renamed or removed
    them.

    An encoder with options derives from `Encoder["Name.Config"]`, one without from `Encoder[Settings]`. A
    simple encoder overrides `encode_one`, a fast one also `encode`.
    """

    separation: ClassVar[Separation] = "newline"
    """What separates messages in a stream if the configuration does not say otherwise."""
    line_end: ClassVar[bytes] = b"\n"
    """The line end behind each message, also in files. Empty if readers find the end of a message without."""
    line_feeds: ClassVar[Literal["never", "in_quotes", "anywhere"]] = "never"
    """Where a message may have line feeds: nowhere, between double quotes as in CSV, or anywhere.

    A message that has one anywhere is rejected where line ends separate messages.
    """
    begins: ClassVar[bytes] = b""
    """The bytes with which every message begins. A file that begins otherwise is not written to."""

    class Config(Settings):
        """The options of this encoder."""

    def __init__(self, config: C) -> None:
        self.config = config

    @property
    def header(self) -> bytes:
        """A message for the beginning of each file or stream; empty if the format has none."""
        return b""

    def expect(self, names: Sequence[str]) -> None:
        """Learn that the sink adds these fields to each record. Called once, before the first record."""
        del names

    @abstractmethod
    def encode_one(self, record: Record, origin: RecordOrigin) -> bytes:
        """The message of one record. Raises `BadData` if the format cannot express it."""

    def encode(self, records: list[Record], origin_of: OriginOf) -> Encoded:
        """The messages of all records. Never raises because of a record."""
        return one_by_one(records, lambda record, index: self.encode_one(record, origin_of(index)))


def one_by_one(records: list[Record], encode_one: Callable[[Record, int], bytes]) -> Encoded:
    """The messages that `encode_one` makes of each record and its index.

    A record for which it raises another exception than `BadData`, or returns no bytes, is rejected as
    `exception` or `bad_result`.
    """
    done = Encoded([])
    for index, record in enumerate(records):
        try:
            message: Any = encode_one(record, index)
        except BadData as bad:
            done.rejects[index] = bad
        except Exception as error:  # noqa: BLE001 - the encoder may be of another package
            done.rejects[index] = BadData("exception", failure_of(error).text)
        else:
            if isinstance(message, bytes) and message:
                done.messages.append(message)
            else:
                kind = "no byte" if message == b"" else f"a {type(message).__name__}"
                done.rejects[index] = BadData("bad_result", f"the encoder returned {kind}")
    return done


AnyEncoder = Encoder[Any]
"""An encoder with options of any type."""
