"""Values of any record as JSON for people and programs that look on: bounded, and never refused."""

import base64
from collections.abc import Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from itertools import islice
from typing import Any
from uuid import UUID

import msgspec

from streamd.core.json_rules import INT_MAX, INT_MIN, MAX_DEPTH
from streamd.core.printable import printable

ROOM = 32 * 1024
"""Characters and values of a shown record. Fields that do not fit are left out and named."""
LEFT_OUT = "@left_out"
"""The key in a shown record that has the names of its missing fields."""
_VALUE = 8
_MOST_NAMES = 20
_MOST_DIGITS_BITS = 1024
_PLAIN = {str, int, float, bool, type(None)}
_encode = msgspec.json.Encoder().encode
_CONTAINERS = (dict, list, tuple, set, frozenset)
_MISSING = object()


class _NoRoomError(Exception):
    """The value is too large."""


def shown(record: Mapping[str, Any], fields: Sequence[str] | None = None, room: int = ROOM) -> bytes:
    r"""The record as JSON in UTF-8, or of it the named `fields`: `a`, or `a.b` for a field of an object.

    It is always valid JSON. JSON has no way to express some values; these become an object with one key:
    `@base64` for bytes, `@integer` for an integer beyond 64 bits, `@float` for NaN and infinity, `@type` for
    an object of another class. Times are text. Half of a surrogate pair becomes the text `\udc80`.
    """
    if fields is None:
        if (text := _plain(record, room)) is not None:
            return text
        items = record.items()
    else:
        found = [(name, _found(record, name)) for name in fields]
        items = {name: value for name, value in found if value is not _MISSING}.items()
    parts: dict[str, Any] = {}
    left_out: list[str] = []
    room_left = _Room(room, work=4 * room)
    for name, value in items:
        before = room_left.room
        try:
            key = room_left.text(_key(name))
            parts[key] = room_left.value(value, 2)
        except _NoRoomError:
            room_left.room = before
            left_out.append(_key(name))
    if left_out:
        names = [printable(name, 100) for name in islice(left_out, _MOST_NAMES)]
        more = len(left_out) - len(names)
        parts[LEFT_OUT] = [*names, f"{more} more"] if more else names
    return _encode(parts)


def _plain(record: Mapping[str, Any], room: int) -> bytes | None:
    """The JSON of a record of short plain values, five times as fast; None if it needs more care."""
    values = record.values()
    kinds = set(map(type, values))
    if not kinds <= _PLAIN or not all(type(key) is str for key in record):
        return None
    if int in kinds and not all(INT_MIN <= value <= INT_MAX for value in values if type(value) is int):
        return None
    if str in kinds and sum(len(value) for value in values if type(value) is str) > room // 2:
        return None
    try:
        text = _encode(record)
    except ValueError:  # half of a surrogate pair
        return None
    if len(text) > room or (float in kinds and b"null" in text):  # null may be NaN or infinity
        return None
    return text


def _found(record: Mapping[str, Any], name: str) -> Any:
    """The field of this name, else the one at this path below other fields."""
    if name in record:
        return record[name]
    value: Any = record
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            return _MISSING
        value = value[key]
    return value


class _Room:
    """Converts values while there is room for them. `work` also limits the room for values left out."""

    def __init__(self, room: int, work: int) -> None:
        self.room = room
        self.work = work

    def _take(self, size: int) -> None:
        if size > self.room or self.work <= 0:
            raise _NoRoomError
        self.room -= size
        self.work -= size

    def value(self, value: Any, level: int) -> Any:
        """The value for JSON. Raises `_NoRoomError`."""
        self._take(_VALUE)
        if value is None or value is True or value is False:
            return value
        try:
            if isinstance(value, str):
                return self.text(value)
            if isinstance(value, int):
                return _integer(value)
            if isinstance(value, float):
                return _float(value)
            return self._other(value, level)
        except _NoRoomError:
            raise
        except Exception:  # noqa: BLE001 - an object of a user's class may raise anything
            return {"@type": type(value).__name__}

    def text(self, text: str) -> str:
        """The text, which UTF-8 can express. Raises `_NoRoomError`."""
        text = str.__str__(text)
        self._take(len(text))
        return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()

    def _other(self, value: Any, level: int) -> Any:
        if isinstance(value, bytes | bytearray | memoryview):
            data = bytes(value) if len(value) <= self.room else b""
            self._take(len(value) * 4 // 3)
            return {"@base64": base64.b64encode(data).decode()}
        if isinstance(value, msgspec.Struct):
            value = msgspec.structs.asdict(value)
        if isinstance(value, _CONTAINERS):
            return self._container(value, level)
        if isinstance(value, date | time):
            return value.isoformat()
        return self.text(str(value)) if isinstance(value, Decimal | UUID) else {"@type": type(value).__name__}

    def _container(self, value: Any, level: int) -> Any:
        if level > MAX_DEPTH:
            return {"@type": f"{type(value).__name__} nested deeper than {MAX_DEPTH}"}
        if isinstance(value, dict):
            return {self.text(_key(key)): self.value(inner, level + 1) for key, inner in value.items()}
        return [self.value(inner, level + 1) for inner in value]


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    try:
        return printable(repr(key), 100)
    except Exception:  # noqa: BLE001 - as in `value`
        return type(key).__name__


def _integer(value: int) -> Any:
    value = int.__add__(value, 0)
    if INT_MIN <= value <= INT_MAX:
        return value
    bits = value.bit_length()
    return {"@integer": str(value) if bits <= _MOST_DIGITS_BITS else f"a number of {bits} bits"}


def _float(value: float) -> Any:
    value = float.__add__(value, 0.0)
    return value if value - value == 0 else {"@float": repr(value)}
