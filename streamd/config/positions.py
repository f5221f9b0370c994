"""Finds the line of each key of a TOML document, which `tomllib` does not report. Used only for errors."""

import re
import tomllib
from bisect import bisect_right
from collections import Counter

from streamd.config.problems import Place

_SKIPPED = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[ \t]*("(?:\\.|[^"\\])*"|'[^']*'|[A-Za-z0-9_-]+)[ \t]*(\.?)""")
_ATOM = re.compile(
    r'''
      """(?:\\.|[^\\])*?"""(?!")        # text of several lines; up to two quotes may precede its end
    | \'\'\'.*?\'\'\'(?!')
    | "(?:\\.|[^"\\])*" | '[^']*'
    | \d{4}-\d\d-\d\d[ ]\d\d[^\s,\]}#]* # a date and a time with a space between them
    | [^\s,\]}#]+
    ''',
    re.DOTALL | re.VERBOSE,
)


class Positions:
    """The position of each key and each array element in a TOML text.

    `text` must be TOML that `tomllib` accepts; it is not checked again. A megabyte takes half a second.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._offsets: dict[Place, int] = {}
        self._elements: Counter[Place] = Counter()
        self._line_starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._document()

    def line(self, place: Place) -> int:
        """The line of `place`, or of the nearest enclosing table in the text. Lines count from 1."""
        while place and place not in self._offsets:
            place = place[:-1]
        return bisect_right(self._line_starts, self._offsets.get(place, 0))

    def _document(self) -> None:
        table: Place = ()
        at = self._skip(0)
        while at < len(self._text):
            if self._text[at] == "[":
                brackets = 2 if self._text.startswith("[[", at) else 1
                keys, end = self._keys(at + brackets)
                table = self._header(keys, at, is_array=brackets == 2)  # noqa: PLR2004 - [[ ]]
                at = end + brackets
            else:
                at = self._pair(at, table)
            at = self._skip(at)

    def _header(self, keys: list[str], at: int, *, is_array: bool) -> Place:
        place: Place = ()
        for number, key in enumerate(keys, 1):
            place += (key,)
            self._offsets.setdefault(place, at)
            is_new_element = is_array and number == len(keys)
            self._elements[place] += is_new_element
            if self._elements[place]:  # the following keys belong to the last element
                place += (self._elements[place] - 1,)
        self._offsets[place] = at
        return place

    def _keys(self, at: int) -> tuple[list[str], int]:
        keys: list[str] = []
        dot = "."
        while dot:
            found = _KEY.match(self._text, at)
            assert found is not None, "the text is no TOML"  # noqa: S101 - a broken promise of the caller
            word, dot = found.groups()
            keys.append(tomllib.loads(f"key = {word}")["key"] if word[0] in "\"'" else word)
            at = found.end()
        return keys, at

    def _pair(self, at: int, table: Place) -> int:
        keys, end = self._keys(at)
        place = table
        for key in keys:
            place += (key,)
            self._offsets.setdefault(place, at)
        return self._value(end + 1, place)

    def _value(self, at: int, place: Place) -> int:
        at = self._skip(at)
        opening = self._text[at]
        if opening not in "[{":
            found = _ATOM.match(self._text, at)
            assert found is not None, "the text is no TOML"  # noqa: S101 - a broken promise of the caller
            return found.end()
        number = 0
        at = self._skip(at + 1)
        while self._text[at] not in "]}":
            if opening == "{":
                at = self._pair(at, place)
            else:
                self._offsets[(*place, number)] = at
                at = self._value(at, (*place, number))
                number += 1
            at = self._skip(at)
            at = self._skip(at + (self._text[at] == ","))
        return at + 1

    def _skip(self, at: int) -> int:
        found = _SKIPPED.match(self._text, at)
        return found.end() if found else at
