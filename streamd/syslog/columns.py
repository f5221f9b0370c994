"""Reads a batch of messages of RFC 5424 by columns, in less time than one after the other."""

import re
from collections.abc import Sequence
from typing import Any

from streamd.core.errors import BadData
from streamd.core.timestamp import all_canonical
from streamd.syslog import structured_data
from streamd.syslog.priority import HIGHEST
from streamd.syslog.rfc5424 import message_at, time_of

_FACILITIES = {f"<{number}>1": number >> 3 for number in range(HIGHEST + 1)}
_SEVERITIES = {f"<{number}>1": number & 7 for number in range(HIGHEST + 1)}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PARTS = 7
"""Priority and version, time, hostname, appname, procid, msgid, and the rest."""
_NONE = "- "
_UNREADABLE = object()
"""In place of a time that is none."""

Values = tuple[Any, ...]
"""The values of a `SyslogMessage`, in its order."""


def read(texts: Sequence[str], timezone: str) -> list[Values | None]:
    """The values of each text with a valid header of RFC 5424; None for every other text.

    `any_format.read` gives the same values. Costs a third of it for a message, two thirds with structured
    data.
    """
    rows = [text.split(" ", _PARTS - 1) for text in texts]
    places = [
        place
        for place, row in enumerate(rows)
        if len(row) == _PARTS and row[0] in _FACILITIES and "" not in row[:-1] and row[-1][:1] in ("-", "[")
    ]
    found: list[Values | None] = [None] * len(texts)
    if not places:
        return found
    beginnings, stamps, *words, rests = zip(*[rows[place] for place in places], strict=True)
    bad = _with_controls(words)
    times = list(stamps) if all_canonical(list(stamps)) else [_time(stamp, timezone) for stamp in stamps]
    data, messages = _split(rests)
    columns = (
        times,
        map(_FACILITIES.__getitem__, beginnings),
        map(_SEVERITIES.__getitem__, beginnings),
        *[[None if word == "-" else word for word in column] for column in words],
        data,
        messages,
    )
    for place, values in zip(places, zip(*columns, strict=True), strict=True):
        if values[0] is not _UNREADABLE and values[-1] is not None:
            found[place] = values
    for row in bad:
        found[places[row]] = None
    return found


def _with_controls(columns: Sequence[Sequence[str]]) -> set[int]:
    """The rows that have a control character in one of these columns. Costs 0.05 µs for a row of ASCII."""
    if "".join(map("".join, columns)).isprintable():
        return set()
    return {row for row, words in enumerate(zip(*columns, strict=True)) if _CONTROL.search("".join(words))}


def _time(stamp: str, timezone: str) -> Any:
    try:
        return time_of(stamp, timezone)
    except BadData:
        return _UNREADABLE


def _split(rests: Sequence[str]) -> tuple[Sequence[Any], Sequence[str | None]]:
    """Structured data and messages; the message is None where the structured data is invalid."""
    if all(rest.startswith(_NONE) for rest in rests):
        return [None] * len(rests), [message_at(rest, 1) for rest in rests]
    data: list[Any] = []
    messages: list[str | None] = []
    for rest in rests:
        found = structured_data.read(rest, 0)
        data.append(found and found[0])
        messages.append(found and message_at(rest, found[1]))
    return data, messages
