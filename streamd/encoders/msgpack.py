"""The encoder `msgpack`."""

from typing import ClassVar

import msgspec

from streamd.core.batch import Record
from streamd.core.contracts import Encoder, RecordOrigin
from streamd.core.contracts.encoder import Separation
from streamd.core.errors import BadData
from streamd.core.msgpack_values import normalised
from streamd.core.settings import Settings

_encode = msgspec.msgpack.Encoder().encode


class Msgpack(Encoder[Settings]):
    """Makes a map of MessagePack of each record. Nothing separates two maps in a stream or file.

    A record with a value that the codec `msgpack` would reject is rejected with the same reason
    (`msgpack:nan`, `msgpack:integer` and others). A value of another type is rejected as `msgpack:type`, a
    text with half of a surrogate pair as `msgpack:utf8`.
    """

    separation: ClassVar[Separation] = "none"
    line_end: ClassVar[bytes] = b""
    line_feeds = "anywhere"

    def encode_one(self, record: Record, origin: RecordOrigin) -> bytes:
        """The record as a map. Raises `BadData`."""
        del origin
        kept = normalised(record)
        try:
            return _encode(kept)
        except UnicodeEncodeError as error:
            raise BadData("msgpack:utf8", error.reason) from None
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise BadData("msgpack:type", str(error)) from None
