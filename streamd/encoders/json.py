"""The encoder `json`."""

import msgspec

from streamd.core.batch import Record
from streamd.core.contracts import Encoded, Encoder, OriginOf, RecordOrigin
from streamd.core.settings import Settings
from streamd.encoding.values import json_text

_encode_lines = msgspec.json.Encoder().encode_lines


class Json(Encoder[Settings]):
    """Makes one JSON object of each record, without spaces and line ends, with bytes as base64.

    A record with NaN, infinity or a value that JSON cannot express is rejected (`row:not_finite`,
    `row:json`). Costs about 0.3 µs per record.
    """

    begins = b"{"

    def encode_one(self, record: Record, origin: RecordOrigin) -> bytes:
        """The record as one JSON object. Raises `BadData`."""
        del origin
        return json_text(record).encode()

    def encode(self, records: list[Record], origin_of: OriginOf) -> Encoded:
        """All records at once, unless one of them may need `encode_one`."""
        try:
            text = _encode_lines(records)
        except (TypeError, ValueError, OverflowError, RecursionError):
            return super().encode(records, origin_of)
        if b"null" in text:  # may be the encoding of a NaN
            return super().encode(records, origin_of)
        return Encoded(text.splitlines())  # JSON has no raw line end inside a value
