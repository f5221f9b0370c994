"""The times in headers that do not follow RFC 5424: without a year, with one somewhere, of Cisco's kinds."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from streamd.core.errors import BadData
from streamd.core.timestamp import canonical, from_epoch

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_UTC_NAMES = ("UTC", "GMT", "Z")
_ZONES = (
    "ACDT", "ACST", "ADT", "AEDT", "AEST", "AKDT", "AKST", "ART", "AST", "AWST", "BRST", "BRT", "BST",
    "CAT", "CDT", "CEST", "CET", "CLST", "CLT", "CST", "EAT", "EDT", "EEST", "EET", "EST", "HKT", "HST",
    "ICT", "IDT", "IRST", "IST", "JST", "KST", "MDT", "MEST", "MET", "MSK", "MST", "NDT", "NST", "NZDT",
    "NZST", "PDT", "PHT", "PKT", "PST", "SAST", "SGT", "TRT", "WAT", "WEST", "WET", "WIB",
)  # fmt: skip
"""Names of time zones that devices write. Some mean several zones (CST: Chicago, Shanghai), so a time with
such a name is one of the configured zone."""

_CLOCK = r"(?P<clock>[0-2]?\d:[0-5]\d:[0-6]\d)(?:[.,](?P<fraction>\d*+))?"
_ZONE = (
    r"(?:\ ?(?P<offset>[+-]\d\d:?\d\d)(?![^\s:])|(?P<z>[Zz])(?![^\s:])"
    rf"|\ (?P<zone>{'|'.join((*_UTC_NAMES, *_ZONES))})(?![^\s:]))?"
)
_STAMP = re.compile(
    rf"""(?P<mark>[*.])?
    (?:(?P<year>(?:19|20)\d\d)\ (?=[A-Za-z]))?                # Nexus: 2013 Aug 19 14:11:31
    (?P<month>[A-Za-z]{{3}})\ {{1,2}}(?P<day>[0-3]?\d)\ {{1,2}}
    (?:(?P<year2>(?:19|20)\d\d)\ )?
    {_CLOCK}{_ZONE}
    (?:\ (?P<year3>(?:19|20)\d\d)(?=:?(?:\s|\Z)))?""",
    re.ASCII | re.VERBOSE,
)
_ISO = re.compile(rf"[*.]?(?P<date>\d{{4}}([-/])\d\d\2\d\d)[Tt\ ]{_CLOCK}{_ZONE}", re.ASCII | re.VERBOSE)
_EPOCH = re.compile(r"(?:1 )?(\d{10}\.\d{3,9})(?= )", re.ASCII)
"""Meraki: `1 1563249630.774247467 host`."""


class Stamp(NamedTuple):
    """A time, where it ends in the text, and what of it has no field."""

    timestamp: str
    end: int
    unsynchronised: bool
    """It had a `*` or `.`: the clock of the device is not set, or not in step with a time server."""
    zone: str | None
    """The name of a time zone that is not UTC."""


def read(text: str, at: int, received_at: float, timezone: str) -> Stamp | None:
    """The time that begins at `at`; None if there is none.

    Without an offset it is a time of `timezone`. Without a year, it is of the year that brings it nearest to
    the day of `received_at` (wall clock, seconds).
    """
    try:
        return _with_names(text, at, received_at, timezone) or _of_digits(text, at, timezone)
    except BadData:
        return None  # no such day


def _with_names(text: str, at: int, received_at: float, timezone: str) -> Stamp | None:
    found = _STAMP.match(text, at)
    if found is None or (name := found["month"].lower()) not in _MONTHS:
        return None
    month, day = _MONTHS.index(name) + 1, int(found["day"])
    given = found["year"] or found["year2"] or found["year3"]
    year = int(given) if given else _nearest_year(month, day, int(received_at // 86_400))
    return _stamp(found, f"{year:04d}-{month:02d}-{day:02d}", timezone, found["mark"] is not None)


def _of_digits(text: str, at: int, timezone: str) -> Stamp | None:
    if found := _ISO.match(text, at):
        return _stamp(found, found["date"].replace("/", "-"), timezone, text[at] in "*.")
    if found := _EPOCH.match(text, at):
        seconds, _, fraction = found[1].partition(".")
        return Stamp(f"{from_epoch(int(seconds))[:20]}{fraction[:6]:0<6}Z", found.end(), False, None)
    return None


def _stamp(found: re.Match[str], date: str, timezone: str, unsynchronised: bool) -> Stamp:
    clock, fraction, zone = found.group("clock", "fraction", "zone")
    utc = found["z"] or zone in _UTC_NAMES
    offset = "Z" if utc else found["offset"] or ""
    text = f"{date}T{clock:0>8}{'.' if fraction else ''}{fraction or ''}{offset}"
    return Stamp(canonical(text, timezone=timezone), found.end(), unsynchronised, None if utc else zone)


@lru_cache(1024)
def _nearest_year(month: int, day: int, received_day: int) -> int:
    """The year in which this day is nearest to the day of receipt, in days since 1970. Raises `BadData`."""
    reference = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=received_day)
    nearest: tuple[int, int] | None = None
    for year in range(max(reference.year - 8, 1), min(reference.year + 8, 9998) + 1):
        try:
            distance = abs((datetime(year, month, day, tzinfo=UTC) - reference).days)
        except ValueError:
            continue  # 29 February
        if nearest is None or distance < nearest[0]:
            nearest = distance, year
    if nearest is None:
        raise BadData("timestamp:range")
    return nearest[1]


def zone_fault(timezone: str) -> str | None:
    """Why this time zone cannot be used; None if it can."""
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        return f"there is no timezone {timezone!r} on this host"
    return None
