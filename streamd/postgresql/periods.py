"""Periods of time that divide a table into partitions. All times are in UTC."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)
_ORIGIN = datetime(2000, 1, 3, tzinfo=UTC)
"""A Monday: periods of 7 days begin on Mondays, those of hours and days at the full hour and midnight."""


class Period(NamedTuple):
    """From `start` to just before `end`."""

    start: datetime
    end: datetime

    def overlaps(self, other: "Period") -> bool:
        """Whether a moment is in both."""
        return self.start < other.end and other.start < self.end


class Periods:
    """Periods of equal width, and the range of moments that a record may have.

    The earliest are `behind_s` before now, in the period that contains that moment; the latest are `ahead_s`
    after now.
    """

    def __init__(self, width_s: float, behind_s: float, ahead_s: float) -> None:
        self.width_s = width_s
        self._width = timedelta(seconds=width_s)
        self._behind_s = behind_s
        self._ahead_s = ahead_s

    def of(self, moment: datetime) -> Period:
        """The period that contains the moment, cut to the years 1 to 9999."""
        count = (moment - _ORIGIN) // self._width
        return Period(self._boundary(count), self._boundary(count + 1))

    def _boundary(self, count: int) -> datetime:
        try:
            return _ORIGIN + count * self._width
        except OverflowError:
            return FIRST if count < 0 else LAST

    def fault(self, moment: datetime, now: datetime) -> tuple[str, str] | None:
        """Why no partition is made for the moment: a reason and its detail. None if one may be made."""
        earliest = self.of(earlier(now, self._behind_s)).start
        if moment < earliest:
            return "row:too_old", f"{_shown(moment)} is before {_shown(earliest)}, the oldest partition"
        latest = later(now, self._ahead_s)
        if moment > latest:
            return "row:too_new", f"{_shown(moment)} is after {_shown(latest)}, the latest time accepted now"
        return None


def earlier(moment: datetime, by_s: float) -> datetime:
    """The moment `by_s` seconds before, or the first of all."""
    try:
        return moment - timedelta(seconds=by_s)
    except OverflowError:
        return FIRST


def later(moment: datetime, by_s: float) -> datetime:
    """The moment `by_s` seconds after, or the last of all."""
    try:
        return moment + timedelta(seconds=by_s)
    except OverflowError:
        return LAST


def free_around(moment: datetime, period: Period, taken: Iterable[Period]) -> Period | None:
    """The part of a period around a moment that no other period takes. None if the moment itself is taken."""
    start, end = period
    for other in taken:
        if other.start <= moment < other.end:
            return None
        if other.end <= moment:
            start = max(start, other.end)
        else:
            end = min(end, other.start)
    return Period(start, end)


def _shown(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
