"""The grammar of the line protocol, as the EBNF of github.com/influxdata/line-protocol gives it.

    measurement[,tag=value…] field=value[,field=value…] [timestamp]

- A backslash escapes a comma and a blank, in keys and tag values also an equals sign, and in a string a
  quote, a backslash, and the letters n, r and t. Before any other character it is itself.
- A field's value is a float (`82`, `-1.5e3`), an integer (`82i`), an unsigned integer (`82u`), a boolean
  (`t`, `true`, …) or a string in quotes. A string may hold line ends.
- A line that begins with `#` is a comment. Blanks before and behind a line, and a CR before its end, do not
  count.

Every expression is linear in the length of its text: none can match one text in two ways.
"""

import math
import re
from typing import Any, NamedTuple

from streamd.core.errors import BadData
from streamd.core.json_rules import INT_MAX, INT_MIN

UNSIGNED_MAX = 2**64 - 1

_MEASUREMENT = r"(?:[^\x00-\x20\x7f\\,]++|\\[ ,]?+)++"
_KEY = r"(?:[^\x00-\x20\x7f\\,=]++|\\[ ,=]?+)++"
_STRING = r'"(?:[^"\\]++|\\.)*+"'
_BARE = r'[^", \r\n][^, \r\n]*+'
_FIELD = f"{_KEY}=(?:{_STRING}|{_BARE})"
_END = r" *+(?:\r?\n|\r?\Z)"
_LINE = re.compile(
    rf"({_MEASUREMENT})((?:,{_KEY}={_KEY})*+) ++({_FIELD}(?:,{_FIELD})*+)(?: ++(-?[0-9]++))?+{_END}",
    re.DOTALL,
)
_TAGS = re.compile(f",({_KEY})=({_KEY})")
_FIELDS = re.compile(rf'({_KEY})=(?:"((?:[^"\\]++|\\.)*+)"|({_BARE})),?+', re.DOTALL)
_STEPS = (
    (re.compile(_MEASUREMENT), "a measurement"),
    (re.compile(f"(?:,{_KEY}={_KEY})*+ ++"), "a tag like ,key=value, or a blank and a field"),
    (re.compile(f"{_FIELD}(?:,{_FIELD})*+", re.DOTALL), "a field like key=value"),
    (re.compile(" ++(?:-?[0-9]++)?+"), "a comma and a field, or a timestamp"),
)
_KEY_ESCAPES = re.compile(r"\\([ ,=])")
_MEASUREMENT_ESCAPES = re.compile(r"\\([ ,])")
_STRING_ESCAPES = re.compile(r'\\(["\\nrt])')
_STRING_MEANS = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_FLOAT = re.compile(r"-?(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+")
_INTEGER = re.compile(r"(-?[0-9]++)i|([0-9]++)u")
BOOLEANS = {
    "t": True, "T": True, "true": True, "True": True, "TRUE": True,
    "f": False, "F": False, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class LinePoint(NamedTuple):
    """The parts of a line, unescaped and in the order of the line; a key may occur twice."""

    measurement: str
    tags: list[tuple[str, str]]
    fields: list[tuple[str, Any]]
    time: str
    """The digits of the timestamp; empty if there is none."""


class WrittenPoint(NamedTuple):
    """The parts of a line as they are written."""

    measurement: str
    tags: str
    fields: str
    time: str
    end: int
    """Where the next line begins."""


def find_parts(text: str, at: int) -> WrittenPoint | None:
    """The parts of the line that begins at `at`; None if it is not in the grammar."""
    found = _LINE.match(text, at)
    return None if found is None else WrittenPoint(found[1], found[2], found[3], found[4] or "", found.end())


def fault_at(text: str, at: int) -> str:
    """What is missing in a line that `find_parts` refuses, and at which of its characters."""
    place, wanted = at, ""
    for expression, wanted in _STEPS:  # noqa: B007 - the last one is meant
        found = expression.match(text, place)
        if found is None:
            break
        place = found.end()
    else:
        wanted = "a timestamp and the end of the line"
    return f"expected {wanted} at character {place - at + 1}"


def read_parts(parts: WrittenPoint) -> LinePoint:
    """The values of the parts. Raises `BadData` with `influx:value` or `influx:range`."""
    measurement = parts.measurement
    if "\\" in measurement:
        measurement = _MEASUREMENT_ESCAPES.sub(r"\1", measurement)
    tags = _TAGS.findall(parts.tags)
    if "\\" in parts.tags:
        tags = [(_unescaped(key), _unescaped(value)) for key, value in tags]
    fields: list[tuple[str, Any]] = []
    for key, string, bare in _FIELDS.findall(parts.fields):
        name = _unescaped(key) if "\\" in key else key
        if bare:
            fields.append((name, value_of(bare, name)))
        else:
            fields.append((name, _STRING_ESCAPES.sub(_meaning, string) if "\\" in string else string))
    return LinePoint(measurement, tags, fields, parts.time)


def value_of(text: str, name: str) -> float | int | bool:
    """The number or boolean of a field. Raises `BadData` with `influx:value` or `influx:range`."""
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise BadData("influx:range", f"{name}: a float beyond 64 bits")
        return number
    if found := _INTEGER.fullmatch(text):
        least, most = (INT_MIN, INT_MAX) if found[1] else (0, UNSIGNED_MAX)
        whole = whole_of(found[1] or found[2])
        if whole is None or not least <= whole <= most:
            raise BadData("influx:range", f"{name}: an integer beyond 64 bits")
        return whole
    if text in BOOLEANS:
        return BOOLEANS[text]
    raise BadData("influx:value", f"{name}: no number, boolean or string in quotes: {text[:64]!r}")


def whole_of(digits: str) -> int | None:
    """The number of some digits; None if they are too many to be one of 64 bits."""
    try:
        return int(digits)
    except ValueError:  # Python reads no integer of more than 4,300 digits
        return None


def _unescaped(key: str) -> str:
    return _KEY_ESCAPES.sub(r"\1", key)


def _meaning(found: re.Match[str]) -> str:
    return _STRING_MEANS[found[1]]
