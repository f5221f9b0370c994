"""Reads a value as another type: the fix of the checks `type` and `range`."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

from streamd.core.json_rules import INT_MAX, INT_MIN
from streamd.core.timestamp import canonical_or_none

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?")
_MAX_TEXT_CHARS = 1000
_BOOLS = {
    "true": True, "false": False, "yes": True, "no": False, "on": True, "off": False, "1": True, "0": False,
}  # fmt: skip


def number_of(value: Any) -> int | float | None:
    """The finite number in a text; None if there is none. An integer must fit 64 bits."""
    if not isinstance(value, str) or len(value) > _MAX_TEXT_CHARS:
        return None
    text = value.strip()
    if _INTEGER.fullmatch(text):
        whole = int(text)
        return whole if INT_MIN <= whole <= INT_MAX else None
    if _NUMBER.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else None
    return None


def _int_of(value: Any) -> int | None:
    number = number_of(value) if isinstance(value, str) else value
    if isinstance(number, float):
        # From 2**53 on, a float may stand for several integers.
        return int(number) if number.is_integer() and abs(number) < 2.0**53 else None
    return int(number) if isinstance(number, int) and INT_MIN <= number <= INT_MAX else None


def _float_of(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = number_of(value) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if number is None or not math.isfinite(number) else float(number)


def _str_of(value: Any) -> str | None:
    if not isinstance(value, int | float):
        return None
    try:
        return json.dumps(value) if math.isfinite(value) else None
    except (ValueError, OverflowError):
        return None


def _bool_of(value: Any) -> bool | None:
    if isinstance(value, str):
        return _BOOLS.get(value.strip().lower()) if len(value) <= _MAX_TEXT_CHARS else None
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def converter(type_name: str, unit: str = "s") -> Callable[[Any], Any]:
    """A function that returns the value as this type, or None if it cannot be read as one."""
    if type_name == "timestamp":
        return lambda value: canonical_or_none(value, unit)
    return {"int": _int_of, "float": _float_of, "str": _str_of, "bool": _bool_of}[type_name]
