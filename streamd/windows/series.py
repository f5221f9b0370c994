"""The windows of all series of StatsD: one watermark, kept gauges, a bound and a lifetime for series."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from streamd.core.now import Now
from streamd.core.state_parts import Items
from streamd.windows.cells import CELLS, GAUGE, Cell, GaugeCell
from streamd.windows.grid import FixedGrid
from streamd.windows.losses import Losses
from streamd.windows.moments import NEVER, US

Series = tuple[str, str, bytes]
"""Type, name, and the tags as JSON with sorted keys."""
OTHER = "_other"
"""Name of the series to which the records beyond `max_series` belong, one for each type."""
NO_TAGS = b"{}"


class Finished(NamedTuple):
    """The cell of a series in a window that has closed."""

    series: Series
    start_us: int
    end_us: int
    cell: Cell
    before: float | None
    """The value of a gauge before the window."""
    losses: int


class _OpenWindow:
    """A window, with the cell of each of its series."""

    __slots__ = ("cells", "has_gauges", "losses")

    def __init__(self, losses: int) -> None:
        self.cells: dict[Series, Any] = {}
        self.losses = losses
        """How many losses had been seen when it opened; -1 if it is not whole."""
        self.has_gauges = False
        """Whether it is closed and has a cell of each gauge."""


class SeriesWindows:
    """Adds records to the windows of their series.

    The watermark is the latest time of a record minus the delay. When no record comes, it moves as the clock
    goes (`tick`). A window closes when the watermark reaches its end; then it gets a cell of each gauge that
    it does not have. Windows without any record are passed over; with times of receipt the last one before
    the watermark is not, if there are gauges.
    """

    def __init__(
        self,
        grid: FixedGrid,
        losses: Losses,
        *,
        delay_us: int,
        ttl_us: int,
        max_series: int,
        idle_s: float | None,
    ) -> None:
        """`idle_s`: how long no record comes before the clock closes windows; None for times of receipt."""
        self._grid = grid
        self._losses = losses
        self._delay_us = delay_us
        self._ttl_us = ttl_us
        self._max_series = max_series
        self._idle_s = idle_s
        self.watermark_us = NEVER
        self._moved = Now(0.0, 0.0)
        """When the watermark was moved."""
        self._seen_s = 0.0
        """When a record came (monotonic)."""
        self._open: dict[int, _OpenWindow] = {}
        """By number; also those that are closed and were not given out yet."""
        self._first = NEVER
        """Number of the first window that is not closed."""
        self._due: float | None = None
        """When the closed windows were due that were not given out yet."""
        self._seen_us: dict[Series, int] = {}
        """The known series, each with the time of its latest record."""
        self._gauges: dict[Series, float | None] = {}
        """The value of each known gauge at the end of the last window that was given out."""
        self.overflowed = self.expired = 0

    def __len__(self) -> int:
        """The number of known series."""
        return len(self._seen_us)

    def is_late(self, moment_us: int) -> bool:
        """Whether the window of this time is closed."""
        return self._grid.index(moment_us) < self._first

    def cell(self, series: Series, moment_us: int, *, is_long: bool = False) -> Any:
        """The cell of a series at a time; that of the first open window if its window is closed.

        A series that is new and one too many, or too long to be kept, shares the cell of `OTHER`.
        """
        index = max(self._grid.index(moment_us), self._first)
        window = self._open.get(index)
        if window is None:
            window = self._open[index] = _OpenWindow(self._losses.seen)
        seen_us = self._seen_us.get(series)
        if seen_us is None:
            if is_long or len(self._seen_us) >= self._max_series:
                self.overflowed += 1
                series = series[0], OTHER, NO_TAGS
            else:
                self._seen_us[series] = moment_us
                if series[0] == GAUGE:
                    self._gauges[series] = None
        elif moment_us > seen_us:
            self._seen_us[series] = moment_us
        cell = window.cells.get(series)
        if cell is None:
            cell = window.cells[series] = CELLS[series[0]]()
        return cell

    def advance(self, moment_us: int, now: Now) -> bool:
        """Move the watermark for a record at this time; whether windows have closed."""
        self._seen_s = now.mono_s
        watermark_us = moment_us - self._delay_us
        return watermark_us > self.watermark_us and self._move(watermark_us, now)

    def _move(self, watermark_us: int, now: Now) -> bool:
        self.watermark_us = watermark_us
        self._moved = now
        first = self._grid.index(watermark_us)
        if first == self._first:
            return False
        if self._gauges and self._idle_s is None and first - 1 not in self._open:
            self._open[first - 1] = _OpenWindow(self._losses.seen)
        self._first = first
        return min(self._open, default=first) < first

    def finished(self, most: int | None = None) -> Iterator[Finished]:
        """Take the cells of closed windows, in order; at most `most` of them, the others next time."""
        for index in sorted(index for index in self._open if index < self._first):
            window = self._open[index]
            start_us, end_us = self._grid.start(index), self._grid.start(index + 1)
            if not window.has_gauges:
                self._keep_gauges(window.cells, end_us)
                window.has_gauges = True
            for series in list(window.cells)[:most]:
                cell = window.cells.pop(series)
                before = self._gauges.get(series)
                if series in self._gauges:
                    self._gauges[series] = cell.after(before)
                if most is not None:
                    most -= 1
                yield Finished(series, start_us, end_us, cell, before, window.losses)
            if window.cells:
                return
            del self._open[index]
        self._due = None

    def _keep_gauges(self, cells: dict[Series, Any], end_us: int) -> None:
        """Add a cell of each gauge to those of a window that ends; forget the series that are too old."""
        oldest_us = end_us - self._ttl_us
        old = [series for series, seen_us in self._seen_us.items() if seen_us < oldest_us]
        self.expired += len(old)
        for series in old:
            del self._seen_us[series]
            self._gauges.pop(series, None)
        for series, value in self._gauges.items():
            if value is not None and series not in cells:
                cells[series] = GaugeCell()

    def next_due(self) -> float | None:
        """When the clock closes the next window, if no record does (monotonic)."""
        if self._due is not None:
            return self._due
        end_us = self._next_end_us()
        if end_us is None:
            return None
        due = self._moved.mono_s + (end_us - self.watermark_us) / US
        return due if self._idle_s is None else max(due, self._seen_s + self._idle_s)

    def _next_end_us(self) -> int | None:
        """Where the clock moves the watermark next; with times of records to the end of the newest window."""
        if self._idle_s is not None:
            return self._grid.start(max(self._open) + 1) if self._open else None
        if self._gauges:
            return self._grid.start(self._first + 1)
        return self._grid.start(min(self._open) + 1) if self._open else None

    def tick(self, now: Now) -> None:
        """Close the windows that are due. With times of receipt the watermark moves as the clock has gone."""
        due, end_us = self.next_due(), self._next_end_us()
        if self._due is not None or due is None or end_us is None or due > now.mono_s:
            return
        if self._idle_s is None:
            end_us = max(end_us, self.watermark_us + round((now.mono_s - self._moved.mono_s) * US))
        if self._move(end_us, now):
            self._due = due

    def dump(self) -> tuple[Any, ...]:
        """The state, for `parts_of`."""
        seen = self._losses.seen
        return (
            self.watermark_us,
            self._moved.wall_s,
            self._first,
            tuple(
                (index, window.losses == seen, window.has_gauges, Items(window.cells.items(), _stored))
                for index, window in self._open.items()
            ),
            Items(self._seen_us.items(), _as_list),
            Items(self._gauges.items(), _as_list),
        )

    def load(self, stored: Any, now: Now) -> None:
        """Continue from what `dump` returned. Raises ValueError, TypeError or KeyError."""
        watermark_us, moved_wall_s, first, windows, seen, gauges = stored
        self.watermark_us, self._first = int(watermark_us), int(first)
        for index, is_whole, has_gauges, cells in windows:
            window = self._open[int(index)] = _OpenWindow(self._losses.seen if is_whole else -1)
            window.has_gauges = bool(has_gauges)
            for series, cell in cells:
                window.cells[_series(series)] = CELLS[series[0]].load(cell)
        self._seen_us = {_series(series): int(at_us) for series, at_us in seen}
        self._gauges = {_series(series): None if value is None else value + 0.0 for series, value in gauges}
        passed_s = 0.0
        if self._idle_s is None:  # the times of receipt are past, so their windows are over
            passed_s = max(now.wall_s - moved_wall_s, 0.0)
        self._moved = Now(float(moved_wall_s), now.mono_s - passed_s)
        self._seen_s = now.mono_s
        if any(index < self._first for index in self._open):
            self._due = now.mono_s


def _series(stored: Any) -> Series:
    type_, name, tags = stored
    if type_ not in CELLS or not isinstance(name, str) or not isinstance(tags, bytes):
        raise ValueError("a series is a type, a name and tags")
    return type_, name, tags


def _stored(item: tuple[Series, Cell]) -> list[Any]:
    series, cell = item
    return [series, cell.dump()]


def _as_list(item: tuple[Series, Any]) -> list[Any]:
    return [*item]
