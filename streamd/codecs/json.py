"""The codec `json`."""

from contextlib import suppress
from typing import Any, Protocol

import msgspec

from streamd.core.batch import Record
from streamd.core.contracts import BadElement, Codec, Decoded
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.json_rules import (
    CONTAINER_BYTES,
    check_rules,
    containers_in,
    decode_fast,
    decode_frame,
    decode_object,
    find_refused,
    without_nul,
)
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings


class _Lane(Protocol):
    """A fast decoder for frames that are one valid object each. Each lane has its own type of items."""

    def read(self, payload: bytes, /) -> Any:
        """The item of one frame. Raises ValueError or RecursionError if the frame does not suit this lane."""

    def refused(self, items: list[Any], payloads: list[bytes]) -> set[int]:
        """Normalise the items of these payloads; returns the indexes of items that must be rejected."""

    def dicts(self, items: list[Any]) -> list[Record]:
        """The records of finished items."""


class _Dicts:
    """The lane without a schema; items are dicts."""

    def __init__(self) -> None:
        self.read = decode_fast

    def refused(self, items: list[Record], payloads: list[bytes]) -> set[int]:
        return find_refused(payloads, items)

    def dicts(self, items: list[Record]) -> list[Record]:
        return items


class _Structs:
    """The lane for objects that have only declared fields; items are structs of the schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.may_nest = schema.open
        self.read = msgspec.json.Decoder(schema.struct).decode

    def refused(self, items: list[Any], payloads: list[bytes]) -> set[int]:
        refused = {place for place, _, _ in self._schema.finish(items)}
        if self._schema.open:
            refused |= find_refused(payloads, items, self._schema.to_dict)
        return refused

    def dicts(self, items: list[Any]) -> list[Record]:
        return list(map(self._schema.to_dict, items))


class _Pairs:
    """The lane for objects with undeclared fields; an item is a struct of the declared ones, and the dict."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._read_declared = msgspec.json.Decoder(schema.loose_struct).decode

    def read(self, payload: bytes) -> tuple[Any, Record]:
        return self._read_declared(payload), decode_fast(payload)

    def refused(self, items: list[Any], payloads: list[bytes]) -> set[int]:
        refused = {place for place, _, _ in self._schema.finish([struct for struct, _ in items])}
        return refused | find_refused(payloads, [record for _, record in items])

    def dicts(self, items: list[Any]) -> list[Record]:
        to_dict = self._schema.to_dict
        for struct, record in items:
            record.update(to_dict(struct))
        return [record for _, record in items]


class Json(Codec[Settings]):
    """Decodes a frame of JSON: an object, an array of objects, or several lines with an object each.

    A bad element or line is rejected alone. A byte order mark before the frame and one NUL at its end (the
    end of a C string) are skipped. With a schema, the fields are typed and checked in the same pass. Fields
    that the schema does not declare are kept. A record of 110 bytes and 7 fields costs 0.3 to 0.5 µs, 1.3 µs
    with an undeclared field.
    """

    # `core.json_rules` holds the rules for rejects. Frames that are one valid object each take a fast lane;
    # the others take `decode_one`. The records of a batch are structs if `typed` is set and every record fits
    # the lane of structs; otherwise all are dicts. The record above costs 0.3 µs as a struct, 0.4 µs without
    # a schema, and 0.5 µs as a dict with a schema.

    def __init__(self, config: Settings, schema: Schema | None) -> None:
        super().__init__(config, schema)
        self._lane: _Lane = _Dicts() if schema is None else _Structs(schema)
        self._undeclared_lane = None if schema is None else _Pairs(schema)

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """All records of all frames, in order."""
        payloads = frames.payloads
        lane = self._lane
        items: list[Any] = []
        try:
            items.extend(map(lane.read, payloads))  # if one fails, the items before it are kept
        except (ValueError, RecursionError) as error:
            if self._undeclared_lane and str(error).startswith("Object contains unknown field"):
                lane = self._undeclared_lane
                items.clear()
                with suppress(ValueError, RecursionError):
                    items.extend(map(lane.read, payloads))
        if len(items) < len(payloads):
            return self._decode_mixed(lane, items, frames, now)
        refused = lane.refused(items, payloads)
        if refused:
            return self._merge(lane, items, list(range(len(items))), refused, frames, now)
        if self.typed and isinstance(lane, _Structs):
            return Decoded(items, typed=True, size_bytes=self._size_bytes(frames, lane))
        return Decoded(lane.dicts(items), size_bytes=self._size_bytes(frames, lane))

    def _size_bytes(self, frames: Frames, lane: _Lane) -> int:
        """Memory of the records as dicts. Dicts and lists are counted in one frame of 32: `{}` is 2 bytes."""
        count = len(frames)
        if isinstance(lane, _Structs) and not lane.may_nest:
            containers = count
        else:
            some = frames.payloads[::32]
            containers = sum(map(containers_in, some)) * count // max(len(some), 1)
        return frames.size_bytes * self.weight + CONTAINER_BYTES * containers

    def _decode_mixed(self, lane: _Lane, items: list[Any], frames: Frames, now: Now) -> Decoded:
        """Decode the frames behind those of `items` one by one."""
        payloads = frames.payloads
        origins = list(range(len(items)))
        for index in range(len(items), len(payloads)):
            payload = payloads[index]
            if payload[:1] == b"{":  # spares other frames the cost of an exception
                try:
                    items.append(lane.read(payload))
                    origins.append(index)
                except (ValueError, RecursionError):
                    continue
        refused = lane.refused(items, [payloads[index] for index in origins]) if items else set()
        return self._merge(lane, items, origins, refused, frames, now)

    def _merge(
        self,
        lane: _Lane,
        items: list[Any],
        origins: list[int],
        refused: set[int],
        frames: Frames,
        now: Now,
    ) -> Decoded:
        """The result if some frames need `decode_one`: frames without an item, and refused ones."""
        if refused:
            items = [item for place, item in enumerate(items) if place not in refused]
            origins = [index for place, index in enumerate(origins) if place not in refused]
        others = sorted(set(range(len(frames))).difference(origins))
        slow = self.decode_each(frames, others, now)
        size_bytes = self._size_bytes(frames, lane)
        if not slow.records and self.typed and isinstance(lane, _Structs):
            return Decoded(items, origins, slow.rejects, typed=True, size_bytes=size_bytes)
        records = lane.dicts(items)
        if slow.records:
            origins = origins + (slow.origins or [])
            records = records + slow.records
            order = sorted(range(len(records)), key=origins.__getitem__)
            origins = [origins[place] for place in order]
            records = [records[place] for place in order]
        return Decoded(records, origins, slow.rejects, size_bytes=size_bytes)

    def decode_one(self, payload: bytes, now: Now) -> Record | list[Record | BadElement]:
        """The record of one object; a list for an array or several lines."""
        del now
        found = decode_frame(payload)
        if isinstance(found, list):
            return [self._element(part) for part in found]
        return self._checked(found)

    def _element(self, part: bytes) -> Record | BadElement:
        body = without_nul(part).strip()
        # A frame may hold 30,000 bad elements, so they get no exact reason.
        if body[:1] != b"{" or body[-1:] != b"}":
            return BadElement(part, "json:not_object")
        try:
            return self._checked(decode_object(body))
        except BadData as bad:
            return BadElement(part, bad.reason, bad.detail)

    def _checked(self, record: Record) -> Record:
        if self.schema is not None:
            record = self.schema.check(record)
        check_rules(record)
        return record
