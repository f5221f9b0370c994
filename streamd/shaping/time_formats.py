"""Formats of times, each a function that makes the canonical text of a time.

A format is a name (`iso`, `epoch_ms`, `rfc3164`, …) or directives of `strptime`. Every text becomes ISO 8601
first, so `core.timestamp` alone decides which times exist.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal
from zoneinfo import ZoneInfo

from streamd.core.errors import BadData
from streamd.core.timestamp import canonical

Ambiguous = Literal["earlier", "later", "reject"]
ToTime = Callable[[Any, datetime], str]
"""Makes the canonical text of a value and the time when it was received. Raises `BadData`."""

UNITS = {"epoch_s": "s", "epoch_ms": "ms", "epoch_us": "us", "epoch_ns": "ns"}
NAMES = ("iso", *UNITS, "rfc2822", "rfc3164")

_NUMBER = re.compile(r"-?\d{1,400}(\.\d{1,400})?([eE][+-]?\d{1,3})?", re.ASCII)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_MONTH = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_RFC2822 = re.compile(
    rf"(?:(?:mon|tue|wed|thu|fri|sat|sun),? +)?(\d\d?) +({_MONTH}) +(\d\d|\d\d\d\d) +"
    r"(\d\d:\d\d)(:\d\d)?(?: +([+-]\d{4}|[a-z]{1,3}))?(?: +\([^()]*\))?",
    re.ASCII | re.IGNORECASE,
)
_RFC3164 = re.compile(rf"({_MONTH}) +(\d\d?) (\d\d:\d\d:\d\d)((?:\.\d{{1,9}})?)", re.ASCII | re.IGNORECASE)
_ZONES = {
    "ut": "Z", "gmt": "Z", "utc": "Z", "z": "Z", "est": "-05:00", "edt": "-04:00", "cst": "-06:00",
    "cdt": "-05:00", "mst": "-07:00", "mdt": "-06:00", "pst": "-08:00", "pdt": "-07:00",
}  # fmt: skip
_FIRST_YEAR_OF_1900 = 50
"""RFC 5322: years of two digits from 50 on are in the 20th century."""
_HALF_A_YEAR = timedelta(days=180)
_WITH_YEAR = re.compile(r"%[YyGcx]")
_SAMPLE = datetime(2026, 11, 23, 13, 47, 59, 123456, tzinfo=UTC)
"""No part of it is the value that `strptime` takes for a missing part."""
_TEXTS_KEPT = 4096


def to_time(text: str, timezone: str | None, ambiguous: Ambiguous) -> ToTime:
    """The function for a format. Raises `ValueError` for a format that does not name a moment."""
    iso = partial(_iso, timezone=timezone, ambiguous=ambiguous)
    if text == "iso":
        return lambda value, _: iso(_text(value))
    if text in UNITS:
        return partial(_epoch, unit=UNITS[text])
    if text == "rfc2822":
        return lambda value, _: iso(_from_rfc2822(_text(value)))
    if text == "rfc3164":
        return lambda value, received: iso(_from_rfc3164(_text(value), received))
    if "%" not in text:
        raise ValueError(
            f"{text!r} is no format: write {', '.join(NAMES)}, or directives like %Y-%m-%d %H:%M:%S"
        )
    _check(text)
    if _WITH_YEAR.search(text.replace("%%", "")) is None:
        return lambda value, received: iso(_without_year(_text(value), text, received))
    return _Directives(text, iso)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise BadData("timestamp:type", f"expected a text, got {type(value).__name__}")
    return value.strip()


def _no(text: str, kind: str) -> BadData:
    return BadData("timestamp:syntax", f"no time of {kind}: {text[:64]!r}")


def _iso(text: str, timezone: str | None, ambiguous: Ambiguous) -> str:
    if _NUMBER.fullmatch(text):
        raise _no(text, "ISO 8601 (a number needs the format epoch_s, epoch_ms, epoch_us or epoch_ns)")
    if timezone is None or ambiguous == "earlier":
        return canonical(text, "s", timezone)
    try:
        return canonical(text)
    except BadData as bad:
        if bad.reason != "timestamp:naive":
            raise
    local = datetime.fromisoformat(canonical(text, "s", "UTC")[:-1]).replace(tzinfo=ZoneInfo(timezone))
    before, after = local.utcoffset(), local.replace(fold=1).utcoffset()
    if before != after:
        if ambiguous == "reject":
            raise BadData("timestamp:ambiguous", f"in {timezone} this time occurs twice or never: {text!r}")
        if before > after:  # type: ignore[operator]  # a zone has offsets
            local = local.replace(fold=1)
    try:
        return f"{local.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    except OverflowError:
        raise BadData("timestamp:range", f"no such time: {text[:64]!r}") from None


def _epoch(value: Any, received: datetime, unit: str) -> str:
    del received
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            raise _no(text, "an epoch number")
        value = int(text) if text.removeprefix("-").isdigit() else float(text)
    return canonical(value, unit)


def _from_rfc2822(text: str) -> str:
    found = _RFC2822.fullmatch(text)
    if found is None:
        raise _no(text, "RFC 2822")
    day, month, year, minute, second, zone = found.groups()
    if len(year) == len("26"):
        year = f"{19 if int(year) >= _FIRST_YEAR_OF_1900 else 20}{year}"
    offset = zone or ""
    if offset and offset[0] not in "+-":
        if offset.lower() not in _ZONES:
            raise _no(text, "RFC 2822 (the zone is unknown)")
        offset = _ZONES[offset.lower()]
    return f"{year}-{_MONTHS[month.lower()]:02d}-{int(day):02d}T{minute}{second or ':00'}{offset}"


def _from_rfc3164(text: str, received: datetime) -> str:
    found = _RFC3164.fullmatch(text)
    if found is None:
        raise _no(text, "RFC 3164")
    month, day, clock, fraction = found.groups()
    rest = f"{_MONTHS[month.lower()]:02d}-{int(day):02d}T{clock[:5]}"

    def in_year(year: int) -> datetime:
        return datetime.fromisoformat(f"{year:04d}-{rest}")

    return f"{_nearest(in_year, received, text).isoformat()[:10]}T{clock}{fraction}"


def _without_year(text: str, directives: str, received: datetime) -> str:
    def in_year(year: int) -> datetime:
        return datetime.strptime(f"{year:04d} {text}", f"%Y {directives}")  # noqa: DTZ007 - local time

    return _nearest(in_year, received, text).isoformat()


def _nearest(in_year: Callable[[int], datetime], received: datetime, text: str) -> datetime:
    """The time in the year that brings it nearest to the receipt. Raises `BadData`."""
    found: list[tuple[timedelta, datetime]] = []
    fault = ""
    for year in (received.year, received.year - 1, received.year + 1):
        try:
            moment = in_year(year)
        except ValueError as error:
            fault = str(error)
            continue
        distance = abs(moment.replace(tzinfo=received.tzinfo) - received)
        if distance < _HALF_A_YEAR:
            return moment
        found.append((distance, moment))
    if not found:
        raise BadData("timestamp:syntax", f"no time: {text[:64]!r}: {fault[:128]}")
    return min(found)[1]


class _Directives:
    """Reads texts by the directives of `strptime`. The last texts are remembered, as many lines share one."""

    def __init__(self, directives: str, iso: Callable[[str], str]) -> None:
        self._directives = directives
        self._iso = iso
        self._known: dict[str, str] = {}

    def __call__(self, value: Any, received: datetime) -> str:
        known = self._known.get(value) if type(value) is str else None
        if known is not None:
            return known
        text = _text(value)
        try:
            moment = datetime.strptime(text, self._directives)  # noqa: DTZ007 - the zone is added later
        except (ValueError, OverflowError) as error:
            raise BadData("timestamp:syntax", f"no time of {self._directives}: {str(error)[:128]}") from None
        found = self._iso(moment.isoformat())
        if len(self._known) >= _TEXTS_KEPT:
            self._known.clear()
        if len(text) <= len(self._directives) * 8:
            self._known[value] = found
        return found


def _check(directives: str) -> None:
    """Raise `ValueError` unless the directives name a day, and a whole hour if they name one."""
    plain = directives.replace("%%", "")
    if "%Z" in plain:
        raise ValueError("%Z knows only UTC and the zone of this host: use %z, or timezone")
    full = directives if _WITH_YEAR.search(plain) else f"%Y {directives}"
    try:
        read = datetime.strptime(_SAMPLE.strftime(full), full)  # noqa: DTZ007 - only compared
    except ValueError as error:
        raise ValueError(f"{directives!r} is no format of strptime: {error}") from None
    if read.date() != _SAMPLE.date():
        raise ValueError(f"{directives!r} names no day: a time needs day and month")
    if read.hour not in (0, _SAMPLE.hour):
        raise ValueError(f"{directives!r} names half a day only: %I needs %p")
