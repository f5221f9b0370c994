"""The operators and functions of expressions. Their cost and results are bounded.

Each returns a plain value or raises `BadData` with one of four reasons: `expr:type` (an operand of a wrong
type), `expr:zero` (division by zero), `expr:range` (a result that is too large), `expr:value` (a text that is
no number). The details name types and quote at most a few characters of the data.
"""

import operator
from collections.abc import Callable
from math import isfinite
from typing import Any

from streamd.core.errors import BadData

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
"""Range of integers in results. Larger integers fit no column."""
MAX_TEXT_CHARS = 1_048_576
"""Longest text that an expression makes."""
MAX_ROUND_DIGITS = 18
"""Bound because `round(1, -10**9)` would compute 10 to that power."""
MAX_NUMERAL_CHARS = 400
"""Longest text that is read as a number. The largest float, written out, has 309 digits."""

_NUMBER = (int, float)
_TYPE_NAMES = {"NoneType": "None", "str": "text"}


def _type_name(value: Any) -> str:
    name = type(value).__name__
    return _TYPE_NAMES.get(name, name)


def _mismatch(what: str, *values: Any) -> BadData:
    return BadData("expr:type", f"{what} does not work on {' and '.join(map(_type_name, values))}")


def as_bad_data(error: Exception) -> BadData:
    """The `BadData` for an exception that was raised during an evaluation."""
    if isinstance(error, BadData):
        return error
    if isinstance(error, ZeroDivisionError):
        return BadData("expr:zero", str(error))
    if isinstance(error, OverflowError | MemoryError | RecursionError):
        return BadData("expr:range", f"{type(error).__name__}: {error}")
    if isinstance(error, TypeError):
        return BadData("expr:type", str(error))
    return BadData("expr:type", f"{type(error).__name__}: {error}")


def _number(value: Any, what: str) -> Any:
    if isinstance(value, int):
        if MIN_INTEGER <= value <= MAX_INTEGER:
            return value
    elif isfinite(value):
        return value
    raise BadData("expr:range", f"the result of {what} does not fit 64 bits")


def _text(value: str, what: str) -> str:
    if len(value) > MAX_TEXT_CHARS:
        raise BadData(
            "expr:range", f"the result of {what} has {len(value)} characters, more than {MAX_TEXT_CHARS}"
        )
    return value


def _arithmetic(symbol: str, operate: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def apply(left: Any, right: Any) -> Any:
        if isinstance(left, _NUMBER) and isinstance(right, _NUMBER):
            result = operate(left, right)
            if type(result) is float and isfinite(result):  # the usual case, without another call
                return result
            return _number(result, symbol)
        raise _mismatch(symbol, left, right)

    return apply


_add_numbers = _arithmetic("+", operator.add)


def add(left: Any, right: Any) -> Any:
    """The sum of two numbers, or the concatenation of two texts."""
    if type(left) is float and (
        type(right) is float or type(right) is int
    ):  # the usual case, without other calls
        total = left + right
        if isfinite(total):
            return total
    if isinstance(left, str) and isinstance(right, str):
        if len(left) + len(right) > MAX_TEXT_CHARS:
            raise BadData("expr:range", f"the result of + has more than {MAX_TEXT_CHARS} characters")
        return left + right
    return _add_numbers(left, right)


def negate(value: Any) -> Any:
    """The negated number."""
    if not isinstance(value, _NUMBER):
        raise _mismatch("-", value)
    return _number(-value, "-")


def path(value: Any, *keys: str | int) -> Any:
    """The value at a path into dicts (by text) and lists (by index); None if the path does not exist."""
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and -len(value) <= key < len(value):
            value = value[key]
        else:
            return None
    return value


def _len(value: Any) -> int:
    if not isinstance(value, (str, bytes, list, tuple, dict)):
        raise _mismatch("len()", value)
    return len(value)


def _abs(value: Any) -> Any:
    if not isinstance(value, _NUMBER):
        raise _mismatch("abs()", value)
    return _number(abs(value), "abs()")


def _round(value: Any, digits: Any = None) -> Any:
    if not isinstance(value, _NUMBER) or not isinstance(digits, int | None):
        raise _mismatch("round()", value, *() if digits is None else (digits,))
    if digits is not None and abs(digits) > MAX_ROUND_DIGITS:
        raise BadData(
            "expr:range", f"round() takes at most {MAX_ROUND_DIGITS} digits, before or after the point"
        )
    _number(value, "round()")
    return _number(round(value, digits), "round()")


def _extreme(name: str, choose: Callable[..., Any]) -> Callable[..., Any]:
    def apply(*values: Any) -> Any:
        numbers = all(isinstance(value, _NUMBER) for value in values)
        if not numbers and not all(isinstance(value, str) for value in values):
            raise _mismatch(name, *values)
        return choose(values)

    return apply


def _of_text(name: str, change: Callable[[str], str]) -> Callable[[Any], str]:
    def apply(value: Any) -> str:
        if not isinstance(value, str):
            raise _mismatch(name, value)
        return _text(change(value), name)

    return apply


def _startswith(text: Any, start: Any) -> bool:
    if text is None or start is None:
        return False
    if not isinstance(text, str) or not isinstance(start, str):
        raise _mismatch("startswith()", text, start)
    return text.startswith(start)


def _endswith(text: Any, end: Any) -> bool:
    if text is None or end is None:
        return False
    if not isinstance(text, str) or not isinstance(end, str):
        raise _mismatch("endswith()", text, end)
    return text.endswith(end)


def _contains(whole: Any, part: Any) -> bool:
    if whole is None or part is None:
        return False
    if isinstance(whole, list) or (isinstance(whole, str | dict) and isinstance(part, str)):
        return part in whole
    raise _mismatch("contains()", whole, part)


def _read_number(name: str, value: Any, read: Callable[[Any], Any]) -> Any:
    if isinstance(value, str):
        # Python also reads "1_000" and digits of other scripts, which are no numbers in data.
        if not value.isascii() or "_" in value or len(value) > MAX_NUMERAL_CHARS:
            raise BadData("expr:value", f"{name} cannot read {value[:40]!r}")
    elif isinstance(value, _NUMBER):
        _number(value, name)
    else:
        raise _mismatch(name, value)
    try:
        return _number(read(value), name)
    except ValueError:
        raise BadData("expr:value", f"{name} cannot read {str(value)[:40]!r}") from None


def _int(value: Any) -> Any:
    return _read_number("int()", value, int)


def _float(value: Any) -> Any:
    return _read_number("float()", value, float)


def _str(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"  # as JSON and SQL write it
    if not isinstance(value, _NUMBER):
        raise _mismatch("str()", value)
    return str(_number(value, "str()"))


def _bool(value: Any) -> bool:
    return bool(value)


def _coalesce(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": add,
    "-": _arithmetic("-", operator.sub),
    "*": _arithmetic("*", operator.mul),
    "/": _arithmetic("/", operator.truediv),
    "//": _arithmetic("//", operator.floordiv),
    "%": _arithmetic("%", operator.mod),
}
"""The binary operators by their sign."""

FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "abs": (_abs, 1, 1),
    "bool": (_bool, 1, 1),
    "coalesce": (_coalesce, 1, 64),
    "contains": (_contains, 2, 2),
    "endswith": (_endswith, 2, 2),
    "float": (_float, 1, 1),
    "int": (_int, 1, 1),
    "len": (_len, 1, 1),
    "lower": (_of_text("lower()", str.lower), 1, 1),
    "max": (_extreme("max()", max), 2, 64),
    "min": (_extreme("min()", min), 2, 64),
    "round": (_round, 1, 2),
    "startswith": (_startswith, 2, 2),
    "str": (_str, 1, 1),
    "strip": (_of_text("strip()", str.strip), 1, 1),
    "upper": (_of_text("upper()", str.upper), 1, 1),
}
"""The functions, each with its fewest and most arguments."""

NEVER_NONE = frozenset({*FUNCTIONS, *ARITHMETIC, "negate"}) - {"coalesce"}
"""Functions and operators whose result is never None, so a comparison needs no check."""
