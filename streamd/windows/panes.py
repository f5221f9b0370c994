"""Tumbling and sliding windows, made of panes."""

from typing import Any, NamedTuple

from streamd.windows.aggregates import Aggregates
from streamd.windows.grid import FixedGrid, Grid
from streamd.windows.keyed import (
    LATE,
    NOWHERE,
    PARTLY_LATE,
    TAKEN,
    UPDATED,
    Bucket,
    Closed,
    Keyed,
    Kind,
    Ranges,
    ranges_of,
)
from streamd.windows.moments import ALWAYS, NEVER, moment_of

BOUNDS_KEPT = 4096


class Bounds(NamedTuple):
    """When a pane begins and ends, and when its last window ends."""

    number: int
    start_us: int
    end_us: int
    last_end_us: int


class Panes(Kind):
    """Windows of `per_window` panes; window `j` ends with pane `j`. With one pane, windows do not overlap.

    A row is added to one pane, however many windows it belongs to. Panes are merged when a window closes.
    """

    def __init__(
        self,
        grid: Grid,
        per_window: int,
        step_us: int,
        delay_us: int,
        lateness_us: int,
        aggregates: Aggregates,
    ) -> None:
        """`step_us` is the usual length of a pane, `delay_us` how far the watermark is behind."""
        self._grid = grid
        self._has_short_way = not lateness_us or (isinstance(grid, FixedGrid) and not lateness_us % step_us)
        """Whether closed windows are forgotten at ends of panes only."""
        self._delay_us = delay_us
        self._per_window = per_window
        self._lateness_us = lateness_us
        self._aggregates = aggregates
        self._bounds: dict[int, Bounds] = {}
        self._ranges: dict[tuple[int, int], Ranges] = {}
        """The ranges of `Keyed.fast` by the newest pane and the pane of the watermark."""

    def _of(self, moment_us: int) -> Bounds:
        index = self._grid.index(moment_us)
        bounds = self._bounds.get(index)
        if bounds is None:
            start, end = self._grid.start(index), self._grid.start(index + 1)
            if len(self._bounds) >= BOUNDS_KEPT:
                self._bounds.clear()
            bounds = self._bounds[index] = Bounds(
                index,
                start,
                end,
                self._grid.start(index + self._per_window),
            )
        return bounds

    def put(self, keyed: Keyed, moment_us: int, row: Any, losses: int) -> int:
        index, _, end_us, last_end_us = self._of(moment_us)
        watermark_us = keyed.watermark_us
        if last_end_us + self._lateness_us <= watermark_us:
            return LATE
        bucket = keyed.buckets.get(index)
        if bucket is None:
            bucket = keyed.buckets[index] = Bucket(losses)
        bucket.rows.append(row)
        next_us = end_us
        outcome = TAKEN
        if end_us <= watermark_us:
            next_us = self._next(index, watermark_us)
            outcome = PARTLY_LATE if end_us + self._lateness_us <= watermark_us else UPDATED
        keyed.next_us = min(keyed.next_us, next_us)
        return outcome

    def _next(self, index: int, watermark_us: int) -> int:
        """The watermark at which a window of the pane closes, or the pane is forgotten."""
        last_end_us = self._grid.start(index + self._per_window)
        if last_end_us <= watermark_us:
            return last_end_us + self._lateness_us
        if watermark_us > NEVER:
            index = max(index, self._grid.index(watermark_us))
        return self._grid.start(index + 1)

    def updated(self, keyed: Keyed, moment_us: int) -> list[Closed]:
        if not self._lateness_us:
            return []
        index = self._of(moment_us).number
        watermark_us = keyed.watermark_us
        every = range(index, index + self._per_window)
        return [
            self._window(keyed, j)
            for j in every
            if watermark_us - self._lateness_us < self._grid.start(j + 1) <= watermark_us
        ]

    def close(self, keyed: Keyed, watermark_us: int) -> list[Closed]:
        if watermark_us < keyed.next_us:
            keyed.watermark_us = max(keyed.watermark_us, watermark_us)
            return []
        grid, buckets, width = self._grid, keyed.buckets, self._per_window
        first = grid.index(keyed.watermark_us) if keyed.watermark_us > NEVER else min(buckets)
        last = grid.index(watermark_us) - 1
        closed = []
        for index in sorted(buckets):
            for j in range(max(index, first), min(index + width - 1, last) + 1):
                closed.append(self._window(keyed, j))
                first = j + 1
        keyed.watermark_us = watermark_us
        keyed.slow()
        for index in [i for i in buckets if grid.start(i + width) + self._lateness_us <= watermark_us]:
            del buckets[index]
        keyed.next_us = min((self._next(index, watermark_us) for index in buckets), default=ALWAYS)
        return closed

    def _window(self, keyed: Keyed, last: int, *, final: bool = True) -> Closed:
        """The window that ends with the pane `last`."""
        first = last - self._per_window + 1
        buckets = keyed.buckets
        if self._per_window == 1:
            bucket = buckets[last]
            values = self._aggregates.result(bucket.states, bucket.rows)
            start_us, end_us = self._grid.start(last), self._grid.start(last + 1)
            return Closed(keyed, start_us, end_us, values, bucket.losses, final)
        if self._per_window < len(buckets):
            inside = [buckets[index] for index in range(first, last + 1) if index in buckets]
        else:
            inside = [buckets[index] for index in sorted(buckets) if first <= index <= last]
        aggregates = self._aggregates
        states = aggregates.folded(inside[0].states, inside[0].rows)
        for bucket in inside[1:]:
            states = aggregates.merge(states, aggregates.folded(bucket.states, bucket.rows))
        start_us, end_us = self._grid.start(first), self._grid.start(last + 1)
        losses = min(bucket.losses for bucket in inside)
        return Closed(keyed, start_us, end_us, aggregates.results(states), losses, final)

    def early(self, keyed: Keyed) -> list[Closed]:
        windows: set[int] = set()
        for index, bucket in keyed.buckets.items():
            count = bucket.count + len(bucket.rows)
            if count != bucket.shown:
                bucket.shown = count
                windows.update(range(index, index + self._per_window))
        return [
            self._window(keyed, j, final=False)
            for j in sorted(windows)
            if self._grid.start(j + 1) > keyed.watermark_us
        ]

    def newest_end(self, keyed: Keyed) -> int:
        return self._grid.start(max(keyed.buckets) + self._per_window) if keyed.buckets else NEVER

    def hurry(self, keyed: Keyed) -> None:
        """The newest pane is fast, as long as the watermark stays between the same two ends of panes.

        Only there a window closes, or a record can be late for another window than before. So the watermark
        need not follow each record.
        """
        watermark_us = keyed.watermark_us
        if watermark_us == NEVER or not keyed.buckets or not self._has_short_way:
            keyed.slow()
            return
        newest = max(keyed.buckets)
        between = self._grid.index(watermark_us)
        keyed.fast = self._range(newest, between)
        keyed.rows = keyed.buckets[newest].rows

    def whole(self, oldest: Any, newest: Any, form: int) -> Ranges | None:
        index = self._of(moment_of(oldest, form)).number
        if self._of(moment_of(newest, form)).number != index:
            return None
        ranges = self._range(index, index)
        low, high = ranges[form]
        return ranges if low <= oldest and newest < high else None

    def _range(self, newest: int, between: int) -> Ranges:
        ranges = self._ranges.get((newest, between))
        if ranges is None:
            if len(self._ranges) >= BOUNDS_KEPT:
                self._ranges.clear()
            ranges = self._ranges[newest, between] = self._fast(newest, between)
        return ranges

    def _fast(self, newest: int, between: int) -> Ranges:
        start_us = self._grid.start(newest)
        end_us = min(self._grid.start(newest + 1), self._grid.start(between + 1) + self._delay_us)
        if newest < between or start_us >= end_us:
            return NOWHERE
        return ranges_of(start_us, end_us)
