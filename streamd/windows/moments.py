"""Event times in integer microseconds since 1970."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import repeat
from typing import Any

from streamd.core.batch import RECEIVED_AT, Record
from streamd.core.errors import BadData
from streamd.core.timestamp import canonical

US = 1_000_000
NEVER = -(1 << 62)
"""Before every time."""
ALWAYS = 1 << 62
"""After every time."""
TEXT, MICROSECONDS, SECONDS = range(3)
"""The forms of times: a canonical text, an integer, or seconds as a number."""
_FIRST_US = -59_011_459_200 * US
"""The year 100."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MINUTE = 17
"""Length of `2026-01-31T08:00:`."""


def moment(value: Any) -> int:
    """The time of an RFC 3339 text or of epoch seconds, in microseconds. Raises `BadData`."""
    return of_canonical(canonical(value))


def of_canonical(text: str) -> int:
    """The time of a canonical text; about 0.3 µs."""
    return _minute(text[:_MINUTE]) + int(text[17:19]) * US + int(text[20:26])


def moment_of(at: Any, form: int) -> int:
    """A time of a form in microseconds."""
    if form == TEXT:
        return of_canonical(at)
    return round(at * US) if form == SECONDS else int(at)


@lru_cache(16_384)
def _minute(text: str) -> int:
    return (datetime.fromisoformat(f"{text}00+00:00") - _EPOCH) // _MICROSECOND


@lru_cache(4096)
def text_of(moment_us: int) -> str:
    """The canonical text of a time. Raises `BadData` outside the years 0001 to 9999."""
    return canonical(moment_us, "us")


def moments_of(records: Sequence[Record], time: str | None, max_future_us: int, wall_s: float) -> list[int]:
    """The time of each record, from the field `time` or that of its receipt; `NEVER` if it has none.

    A record also has none if its time is before the year 100, or later than the receipt by more than
    `max_future_us`. Records without a time of receipt were received at `wall_s`. About 0.35 µs a record, and
    0.1 µs without `time`.
    """
    received = [record.get(RECEIVED_AT) for record in records]
    times = None if time is None else [record.get(time) for record in records]
    return moments_of_columns(times, received, max_future_us, wall_s)


def moments_of_columns(
    times: Sequence[Any] | None, received: Sequence[Any], max_future_us: int, wall_s: float
) -> list[int]:
    """As `moments_of`, from the values of the field, or None without one, and the times of receipt."""
    moments = []
    received_at, received_us = None, round(wall_s * US)
    for text, value in zip(received, repeat(None) if times is None else times, strict=False):
        if text != received_at:  # the records of one read have the same text
            received_at = text
            received_us = _usable(text, ALWAYS)
            if received_us == NEVER:
                received_us = round(wall_s * US)
        moments.append(received_us if times is None else _usable(value, received_us + max_future_us))
    return moments


def _usable(value: Any, last_us: int) -> int:
    try:
        at_us = of_canonical(canonical(value))
    except BadData:
        return NEVER
    return at_us if _FIRST_US <= at_us <= last_us else NEVER
