"""The grammar of logfmt: `level=warn msg="disk full" retry`."""

import re
from collections.abc import Callable
from typing import Any

from streamd.core.batch import Record
from streamd.core.errors import BadData

_PAIR = re.compile(
    r'[\x00-\x20]*+(?:([^\x00-\x20="]++)'
    r'(?:(=)("(?:[^"\\]++|\\.)*+"|[^\x00-\x20"]*+(?!"))|(?![="]))'
    r"|(.++)|\Z)",
    re.DOTALL,
)
"""A key, `=`, and a value with its quotes; or all the rest of a text that goes on with no pair."""
_ESCAPE = re.compile(r"((?:\\u[0-9a-fA-F]{4})++)|\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


def fields_of(text: str, to_value: Callable[[str], Any], reason: str) -> Record:
    """The fields of a text. `to_value` makes the values of texts without quotes.

    Blanks and control characters separate the pairs. A key ends at `=`; a value may hold further `=`. A word
    without `=` is true. Quoted values have the escapes of JSON, and may hold line ends; behind them the next
    pair may follow at once. The last of equal keys counts. A text without any `=` is no logfmt. Raises
    `BadData` with `reason`. Takes linear time.
    """
    found: Record = {}
    has_pair = False
    for key, separator, value, rest in _PAIR.findall(text):
        if separator:
            has_pair = True
            if value[:1] == '"':
                found[key] = _unescaped(value[1:-1], reason) if "\\" in value else value[1:-1]
            else:
                found[key] = to_value(value)
        elif key:
            found[key] = True
        elif rest:
            raise BadData(reason, f"no pair at character {len(text) - len(rest) + 1}: {rest[:40]!r}")
    if not has_pair:
        raise BadData(reason, "no key=value")
    return found


def _unescaped(text: str, reason: str) -> str:
    try:
        return _ESCAPE.sub(_character, text)
    except UnicodeDecodeError:
        raise BadData(reason, "an escape is half of a surrogate pair") from None


def _character(found: re.Match[str]) -> str:
    codes, character = found.groups()
    if codes is None:
        return _ESCAPES.get(character, character)
    return bytes.fromhex(codes.replace("\\u", "")).decode("utf-16-be")
