"""Reads the messages of a batch together, in less time than one after the other."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from streamd.core.errors import BadData
from streamd.core.timestamp import all_canonical
from streamd.syslog import structured_data
from streamd.syslog.element_shapes import ElementShapes
from streamd.syslog.priority import HIGHEST
from streamd.syslog.rfc5424 import message_at, time_of

_FACILITIES = {f"<{number}>1": number >> 3 for number in range(HIGHEST + 1)}
_SEVERITIES = {f"<{number}>1": number & 7 for number in range(HIGHEST + 1)}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PARTS = 7
"""Priority and version, time, hostname, appname, procid, msgid, and the rest."""
_NONE = "- "
_BYTE_ORDER_MARK = "\ufeff"
_UNREADABLE = object()
"""In place of a time that is none."""

Values = tuple[Any, ...]
"""The values of a `SyslogMessage`, in its order."""


class MessageColumns:
    """Reads messages of RFC 5424, and remembers the names in their structured data."""

    def __init__(self, timezone: str) -> None:
        self._timezone = timezone
        self._shapes = ElementShapes()

    def read(self, texts: Sequence[str]) -> list[Values | None]:
        """The values of each text with a valid header of RFC 5424; None for every other text.

        `any_format.read` gives the same values. Costs a quarter of it for a message, half with structured
        data.
        """
        rows = [text.split(" ", _PARTS - 1) for text in texts]
        if set(map(len, rows)) == {_PARTS}:
            columns = list(zip(*rows, strict=True))
            if _FACILITIES.keys() >= set(columns[0]) and not any("" in column for column in columns[:-1]):
                return self._values(columns)
        places = [
            place
            for place, row in enumerate(rows)
            if len(row) == _PARTS and row[0] in _FACILITIES and "" not in row[:-1]
        ]
        found: list[Values | None] = [None] * len(texts)
        if places:
            columns = list(zip(*[rows[place] for place in places], strict=True))
            for place, values in zip(places, self._values(columns), strict=True):
                found[place] = values
        return found

    def _values(self, columns: Sequence[Sequence[str]]) -> list[Values | None]:
        """The values of messages whose parts these are."""
        beginnings, stamps, *words, rests = columns
        bad = _with_controls(words)
        times = self._times(list(stamps))
        data, messages = self._split(rests)
        found: list[Values | None] = list(
            zip(
                times,
                map(_FACILITIES.__getitem__, beginnings),
                map(_SEVERITIES.__getitem__, beginnings),
                *map(_or_none, words),
                data,
                messages,
                strict=True,
            )
        )
        if None in messages or _UNREADABLE in times:
            for place, (time, message) in enumerate(zip(times, messages, strict=True)):
                if time is _UNREADABLE or message is None:
                    found[place] = None
        for place in bad:
            found[place] = None
        return found

    def _times(self, stamps: list[str]) -> Sequence[Any]:
        if all_canonical(stamps):
            return stamps
        return [self._time(stamp) for stamp in stamps]

    def _time(self, stamp: str) -> Any:
        try:
            return time_of(stamp, self._timezone)
        except BadData:
            return _UNREADABLE

    def _split(self, rests: Sequence[str]) -> tuple[Sequence[Any], Sequence[str | None]]:
        """Structured data and messages; the message is None where there is no valid structured data."""
        if [rest[:2] for rest in rests].count(_NONE) == len(rests):
            return [None] * len(rests), _without_marks([rest[2:] for rest in rests])
        data: list[Any] = []
        messages: list[Any] = []
        has_marks = _BYTE_ORDER_MARK in "".join(rests)
        for rest in rests:
            found: tuple[Any, Any] | None = None
            if not has_marks:
                found = (None, rest[2:]) if rest[:2] == _NONE else self._shapes.read(rest)
            if found is None and (read := structured_data.read(rest, 0)) is not None:
                found = read[0], message_at(rest, read[1])
            elements, message = found or (None, None)
            data.append(elements)
            messages.append(message)
        return data, messages


def _or_none(words: Sequence[str]) -> Iterable[str | None]:
    """The words; None for `-`."""
    if "-" in words:
        return [None if word == "-" else word for word in words]
    return words


def _with_controls(columns: Sequence[Sequence[str]]) -> set[int]:
    """The rows that have a control character in one of these columns. Costs 0.05 µs for a row of ASCII."""
    if "".join(map("".join, columns)).isprintable():
        return set()
    return {row for row, words in enumerate(zip(*columns, strict=True)) if _CONTROL.search("".join(words))}


def _without_marks(messages: list[str]) -> list[str]:
    """The messages without a byte order mark before them."""
    if _BYTE_ORDER_MARK in "".join(messages):
        return [message.removeprefix(_BYTE_ORDER_MARK) for message in messages]
    return messages
