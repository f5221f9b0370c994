"""The panes into which windows divide time. Each has a number; numbers grow with time."""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

from streamd.windows.moments import US

DAY_US = 86_400 * US
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = date(1970, 1, 1).toordinal()


class Grid(Protocol):
    """Pane `i` lasts from `start(i)` up to `start(i + 1)`."""

    def index(self, moment_us: int) -> int:
        """The number of the pane that includes the time. Raises OverflowError far from the present."""

    def start(self, index: int) -> int:
        """When the pane begins. Raises OverflowError far from the present."""


class FixedGrid:
    """Panes of the same length, aligned to 1970-01-01T00:00:00Z plus an offset."""

    def __init__(self, step_us: int, offset_us: int) -> None:
        self.step_us = step_us
        self.offset_us = offset_us

    def index(self, moment_us: int) -> int:
        return (moment_us - self.offset_us) // self.step_us

    def start(self, index: int) -> int:
        return index * self.step_us + self.offset_us


class DayGrid:
    """Panes of whole days of a time zone. A day is 23 or 25 hours long if the clock is changed in it."""

    def __init__(self, days: int, offset_us: int, zone: ZoneInfo) -> None:
        self.days = days
        self.offset = timedelta(microseconds=offset_us)
        self.zone = zone
        self.start = lru_cache(4096)(self._start)

    def index(self, moment_us: int) -> int:
        local = (_EPOCH + timedelta(microseconds=moment_us)).astimezone(self.zone) - self.offset
        index = (local.toordinal() - _FIRST_DAY) // self.days
        while moment_us < self.start(index):  # an offset can reach over a change of the clock
            index -= 1
        while moment_us >= self.start(index + 1):
            index += 1
        return index

    def _start(self, index: int) -> int:
        try:
            day = date.fromordinal(_FIRST_DAY + index * self.days)
        except ValueError as error:  # before the year 1 or after 9999
            raise OverflowError(str(error)) from error
        # An hour that is skipped becomes the moment of the change; of an hour that occurs twice, the first.
        local = (datetime.combine(day, time()) + self.offset).replace(tzinfo=self.zone)
        return (local.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
