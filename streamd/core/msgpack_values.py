"""Values of MessagePack as values of records."""

from datetime import UTC, datetime
from math import isfinite
from typing import Any

import msgspec

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.json_rules import INT_MAX, INT_MIN, MAX_DEPTH

_FAULTS = (
    ("truncated", "msgpack:truncated"),
    ("trailing characters", "msgpack:trailing"),
    ("imestamp", "msgpack:timestamp"),
    ("hashable", "msgpack:key"),
    ("utf-8", "msgpack:utf8"),
)


def explained(error: Exception) -> BadData:
    """The reason for bytes that msgspec refused with ValueError or RecursionError."""
    if isinstance(error, RecursionError):
        return too_deep()
    detail = str(error)
    reason = next((reason for words, reason in _FAULTS if words in detail), "msgpack:syntax")
    return BadData(reason, detail.removeprefix("MessagePack data is malformed: "))


def too_deep() -> BadData:
    """The fault of a value that is nested too deep."""
    return BadData("msgpack:depth", f"nested deeper than {MAX_DEPTH}")


def normalised(found: dict[Any, Any], depth: int = 1) -> Record:
    """A decoded map with keys that are texts and values that a record may have. Raises `BadData`."""
    record: Record = {}
    for key, value in found.items():
        name = key if type(key) is str else _name(key)
        if name in record:
            raise BadData("msgpack:key", f"{name[:64]!r} is the text of two keys")
        record[name] = _value(value, depth)
    return record


def _name(key: Any) -> str:
    if type(key) is int:
        return str(key)
    if type(key) is bytes:
        try:
            return key.decode()
        except UnicodeDecodeError:
            raise BadData("msgpack:key", "a key of bytes that are no UTF-8") from None
    raise BadData("msgpack:key", f"a key of type {type(key).__name__}")


def _value(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is dict or kind is list:
        if depth >= MAX_DEPTH:
            raise too_deep()
        if kind is dict:
            return normalised(value, depth + 1)
        return [_value(item, depth + 1) for item in value]
    if kind is int and not INT_MIN <= value <= INT_MAX:
        raise BadData("msgpack:integer", "an integer beyond 64 bits")
    if kind is float and not isfinite(value):
        raise BadData("msgpack:nan", "NaN or infinity")
    if kind is datetime:
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    if kind is msgspec.msgpack.Ext:
        raise BadData("msgpack:ext", f"extension type {value.code}")
    return value
