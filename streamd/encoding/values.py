"""Encodes values of records for columns and lines."""

from collections.abc import Callable
from typing import Any

import msgspec

from streamd.core.errors import BadData
from streamd.core.json_rules import INT_MAX, INT_MIN

_LARGEST = 1.7976931348623157e308
_encode_json = msgspec.json.Encoder().encode


def json_text(value: Any) -> str:
    """The value as JSON, with bytes as base64. Raises `BadData` if JSON cannot express it."""
    try:
        text = _encode_json(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadData("row:json", f"not expressible as JSON: {error}") from None
    place = _non_finite(value) if "null" in text else None  # the encoder writes null for NaN and infinity
    if place is not None:
        at = f" at {place.removeprefix('.')[:200]}" if place else ""
        raise BadData("row:not_finite", f"NaN or infinity{at}")
    return text


def any_value(value: Any) -> Any:
    """The value for an ANY column of SQLite; lists and dicts become JSON text. Raises `BadData`."""
    if isinstance(value, str | bytes | bool):
        return value
    if isinstance(value, int):
        if not INT_MIN <= value <= INT_MAX:
            raise BadData("row:range", "an integer beyond 64 bits")
        return value
    if isinstance(value, float):
        if not -_LARGEST <= value <= _LARGEST:
            raise BadData("row:not_finite", "NaN or infinity")
        return value
    if isinstance(value, dict | list | tuple):
        return json_text(value)
    raise BadData("row:type", f"a {type(value).__name__} cannot be stored")


ENCODERS: dict[str, Callable[[Any], Any]] = {"json": json_text, "any": any_value}
"""Encoders for field types whose values SQLite does not store unchanged."""


def _non_finite(value: Any) -> str | None:
    """The path to a NaN or infinity, like `.a[1]`; empty if it is the value itself; None without one."""
    waiting = [("", value)]
    while waiting:
        place, part = waiting.pop()
        if isinstance(part, float):
            if not -_LARGEST <= part <= _LARGEST:
                return place
        elif isinstance(part, dict):
            waiting += [(f"{place}.{key}", inner) for key, inner in part.items()]
        elif isinstance(part, list | tuple):
            waiting += [(f"{place}[{index}]", inner) for index, inner in enumerate(part)]
        elif isinstance(part, msgspec.Struct):
            waiting += [("", inner) for inner in msgspec.structs.astuple(part)]
    return None
