"""The codec `msgpack`."""

from itertools import chain
from math import isfinite
from typing import Any

import msgspec

from streamd.core.batch import Record
from streamd.core.contracts import BadElement, Codec, Decoded
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.json_rules import CONTAINER_BYTES, INT_MAX, INT_MIN, RESERVED_KEYS
from streamd.core.msgpack_values import explained, normalised
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings

_PLAIN = frozenset((str, int, float, bool, bytes, type(None)))
_ARRAYS = frozenset((*range(0x90, 0xA0), 0xDC, 0xDD))
"""The first bytes of arrays."""
_CONTAINERS = bytes(range(0x80, 0xA0))
"""The first bytes of short maps and arrays, which may be empty; other values have these bytes too."""
_decode_map = msgspec.msgpack.Decoder(dict[str, Any]).decode
_decode_array = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_any = msgspec.msgpack.Decoder().decode


class Msgpack(Codec[Settings]):
    """Decodes a frame of MessagePack: a map, or an array of maps, each of which becomes a record.

    Texts, numbers, booleans, nil, lists and maps become what they are in JSON, binary data stays bytes, and
    the extension type -1 (timestamp) becomes a time as text, cut to microseconds. A key that is a number or
    binary UTF-8 becomes a text. Of equal keys the last one counts.

    A map is rejected if it is not whole (`msgpack:truncated`), if bytes follow it (`msgpack:trailing`), or if
    it holds NaN or infinity (`msgpack:nan`), an integer beyond 64 signed bits (`msgpack:integer`), another
    extension type (`msgpack:ext`), an impossible time (`msgpack:timestamp`), a text that is no UTF-8
    (`msgpack:utf8`), another key (`msgpack:key`) or one that only the daemon sets (`msgpack:reserved`), or if
    it is nested deeper than 64 (`msgpack:depth`). Other values are rejected as `msgpack:not_map`, other bytes
    as `msgpack:syntax`. A bad element of an array is rejected alone.

    In a stream, or if a datagram holds several maps, use the framing `msgpack`.
    """

    reads_text = False

    def __init__(self, config: Settings, schema: Schema | None) -> None:
        super().__init__(config, schema)
        self._decode_struct = None if schema is None else msgspec.msgpack.Decoder(schema.struct).decode

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """All records of all frames, in order."""
        done = self._plain(frames.payloads) if self._decode_struct is None else self._structs(frames.payloads)
        done = done or self.decode_each(frames, range(len(frames)), now)
        some = frames.payloads[::32]
        found = sum([len(payload) - len(payload.translate(None, _CONTAINERS)) for payload in some])
        containers = found * len(frames) // max(len(some), 1)
        done.size_bytes = frames.size_bytes * self.weight + CONTAINER_BYTES * containers
        return done

    def decode_one(self, payload: bytes, now: Now) -> Record | list[Record | BadElement]:
        """The record of a map; a list for an array."""
        del now
        if not payload:
            raise BadData("empty")
        if payload[0] in _ARRAYS and (parts := self._parts(payload)) is not None:
            return parts
        try:
            found = _decode_any(payload)
        except (ValueError, RecursionError) as error:
            raise explained(error) from None
        return self._checked(found)

    def _parts(self, payload: bytes) -> list[Record | BadElement] | None:
        """The record or fault of each element; None if the array is not whole. Raises `BadData`."""
        try:
            elements = [bytes(element) for element in _decode_array(payload)]
        except (ValueError, RecursionError):
            return None
        if not elements:
            raise BadData("empty", "an array without elements")
        return [self._element(element) for element in elements]

    def _element(self, element: bytes) -> Record | BadElement:
        try:
            return self._checked(_decode_any(element))
        except BadData as bad:
            return BadElement(element, bad.reason, bad.detail)
        except (ValueError, RecursionError) as error:
            fault = explained(error)
            return BadElement(element, fault.reason, fault.detail)

    def _checked(self, found: Any) -> Record:
        if not isinstance(found, dict):
            raise BadData("msgpack:not_map", f"expected a map, got {type(found).__name__}")
        record: Record = normalised(found)
        if not RESERVED_KEYS.isdisjoint(record):
            raise BadData("msgpack:reserved", f"only the daemon sets {min(RESERVED_KEYS & record.keys())!r}")
        return record if self.schema is None else self.schema.check(record)

    def _plain(self, payloads: list[bytes]) -> Decoded | None:
        """The records if every frame is one map of plain values that all may be kept; otherwise None."""
        try:
            records = list(map(_decode_map, payloads))
        except (ValueError, RecursionError):
            return None
        values = list(chain.from_iterable(map(dict.values, records)))
        may_be_reserved = any(b"@" in payload for payload in payloads)
        if (
            not _PLAIN.issuperset(map(type, values))
            or not _are_kept(values)
            or (may_be_reserved and not all(map(RESERVED_KEYS.isdisjoint, records)))
        ):
            return None
        return Decoded(records)

    def _structs(self, payloads: list[bytes]) -> Decoded | None:
        """The records if every frame is a map of declared fields, each of its type; otherwise None."""
        schema, decode = self.schema, self._decode_struct
        if schema is None or decode is None or schema.open:
            return None
        try:
            items = list(map(decode, payloads))
        except (ValueError, RecursionError):
            return None
        if not _are_kept(schema.flatten(items)) or schema.finish(items):
            return None
        if self.typed:
            return Decoded(items, typed=True)
        return Decoded(list(map(schema.to_dict, items)))


def _are_kept(values: list[Any]) -> bool:
    """Whether all floats are finite and all integers have 64 bits at most. False may be wrong."""
    if not isfinite(sum([value for value in values if type(value) is float])):
        return False
    whole = [value for value in values if type(value) is int]
    return not whole or (min(whole) >= INT_MIN and max(whole) <= INT_MAX)
