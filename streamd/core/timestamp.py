"""One text for every moment: `2026-01-31T08:00:00.000000Z`.

UTC, microseconds, always 27 characters, years 0001 to 9999: the order of the texts is the order of time,
and SQLite's date functions read them.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from streamd.core.errors import BadData

_US_PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NS_PER_US = 1_000
_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_FIRST_S = -62_135_596_800
"""0001-01-01T00:00:00Z in seconds since 1970."""
_LAST_S = 253_402_300_799
"""9999-12-31T23:59:59Z in seconds since 1970."""

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):[0-5]\d:)([0-5]\d|60)"
    r"(?:\.(\d+))?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)?",
    re.ASCII,
)

_LENGTH = 27
_MINUTE = 17
"""Length of `2026-01-31T08:00:`, the part whose calendar is checked once and remembered."""
_MINUTES_KEPT = 16_384
_minutes: set[str] = set()
"""Minutes known to exist. Emptied when full, so a sender of random times cannot make it grow."""
_TWO_DIGITS = frozenset(f"{second:02d}" for second in range(60))
_TENS = frozenset("012345")


def from_epoch(wall_s: float) -> str:
    """The text of seconds since 1970, rounded to microseconds. Raises `BadData`."""
    return _from_number(wall_s, "s")


def canonical(value: Any, unit: str = "s", timezone: str | None = None) -> str:
    """The text of an RFC 3339 time, or of an epoch number in `unit` (s, ms, us, ns).

    As RFC 3339 allows, `t` and `z` may be lower case, a space may stand for the `T`, and `-00:00` is UTC.
    Any number of fraction digits is cut to six; numbers with a fraction are rounded, because binary
    fractions are seldom what was meant to the last digit. A leap second (23:59:60 UTC) becomes the last
    microsecond of its minute. A time without an offset is read in the zone `timezone` (the earlier one
    where a clock was set back).

    Raises `BadData` `timestamp:syntax`, `timestamp:naive` (no offset and no zone), `timestamp:range` (no
    such day, or outside the years 0001 to 9999) or `timestamp:type`. About 0.25 µs for a text that is
    canonical, 1 to 2 µs for others.
    """
    if isinstance(value, str):
        # The usual spellings of UTC in a minute that has been seen; `_from_text` gives the same answers.
        end = -1 if value[-1:] == "Z" else -6
        if (
            value[:_MINUTE] in _minutes
            and value[17:19] in _TWO_DIGITS
            and value[end:] in ("Z", "+00:00")
            and value.isascii()
        ):
            fraction = value[20:end]
            if value[19] == "." and fraction.isdigit():
                if len(value) == _LENGTH and end == -1:
                    return value
                return f"{value[:20]}{fraction[:6]:0<6}Z"
            if not value[19:end]:
                return f"{value[:19]}.000000Z"
        return _from_text(value, timezone)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadData("timestamp:type", f"expected a time, got {type(value).__name__}")
    return _from_number(value, unit)


def all_canonical(values: list[Any]) -> bool:
    """Whether every value is already canonical; at about 0.04 µs a value, it asks of all at once.

    False says only that each has to be looked at: also a batch of good times over many different minutes
    may be answered so.
    """
    try:
        text = "\n".join(values)
    except TypeError:
        return False
    # Joined, value i stands at 28 * i; were a value of another length, some separator would not stand at 27.
    count = len(values)
    step = _LENGTH + 1
    if not (
        len(text) == step * count - 1
        and text.isascii()
        and text[26::step] == "Z" * count
        and text[27::step] == "\n" * (count - 1)
        and text[19::step] == "." * count
        and _TENS.issuperset(text[17::step])
        and "".join([text[digit::step] for digit in (18, 20, 21, 22, 23, 24, 25)]).isdigit()
    ):
        return False
    # After the checks above a minute can only be found where a value begins, so counting it is exact.
    minutes = {values[0][:_MINUTE], values[-1][:_MINUTE]}
    return all(map(_is_minute, minutes)) and sum(map(text.count, minutes)) == count


def _is_minute(text: str) -> bool:
    """Whether a text of 17 characters is a minute of the calendar in canonical form."""
    if text in _minutes:
        return True
    try:
        if datetime.fromisoformat(f"{text}00").isoformat() != f"{text}00":
            return False
    except ValueError:
        return False
    if len(_minutes) >= _MINUTES_KEPT:
        _minutes.clear()
    _minutes.add(text)
    return True


def _from_text(text: str, timezone: str | None) -> str:
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise BadData("timestamp:syntax", f"not an RFC 3339 time: {text[:64]!r}")
    date, minute, second, fraction, offset = found.groups("")
    if not offset and timezone is None:
        raise BadData("timestamp:naive", f"a time without an offset needs a timezone: {text[:64]!r}")
    try:
        start = _minute_in_utc(f"{date}T{minute}", offset.upper(), timezone)
    except (ValueError, OverflowError) as error:
        raise BadData("timestamp:range", f"no such time: {text[:64]!r}") from error
    if second == "60":
        if not start.endswith("T23:59:"):
            raise BadData("timestamp:range", f"no leap second can be there: {text[:64]!r}")
        return f"{start}59.999999Z"
    _is_minute(start)  # so that the next one is recognised at once
    return f"{start}{second}.{fraction[:6]:0<6}Z"


@lru_cache(4096)
def _minute_in_utc(minute: str, offset: str, timezone: str | None) -> str:
    """`2026-01-31T09:00:` at `+01:00` is `2026-01-31T08:00:`. Raises ValueError and OverflowError."""
    moment = datetime.fromisoformat(f"{minute}00{offset}")
    if moment.tzinfo is None and timezone is not None:
        moment = moment.replace(tzinfo=ZoneInfo(timezone))
    return moment.astimezone(UTC).isoformat()[:_MINUTE]


def _from_number(value: float, unit: str) -> str:
    try:
        if unit == "ns":
            epoch_us = value // _NS_PER_US if isinstance(value, int) else round(value / _NS_PER_US)
        else:
            epoch_us = round(value * _US_PER_UNIT[unit])
    except (ValueError, OverflowError) as error:
        raise BadData("timestamp:range", f"no time: {value}") from error
    second, microsecond = divmod(epoch_us, 1_000_000)
    if not _FIRST_S <= second <= _LAST_S:
        raise BadData("timestamp:range", "outside the years 0001 to 9999")
    return f"{_second(second)}.{microsecond:06d}Z"


@lru_cache(4096)
def _second(epoch_s: int) -> str:
    return (_EPOCH + timedelta(seconds=epoch_s - _FIRST_S)).isoformat()[:19]
