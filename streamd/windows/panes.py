"""Tumbling and sliding windows, made of panes."""

from typing import Any, NamedTuple

from streamd.windows.aggregates import Aggregates
from streamd.windows.grid import Grid
from streamd.windows.keyed import LATE, PARTLY_LATE, TAKEN, UPDATED, Bucket, Closed, Keyed, Kind, Range
from streamd.windows.moments import ALWAYS, NEVER, text_of

BOUNDS_KEPT = 4096


class Bounds(NamedTuple):
    """When a pane begins and ends, and when its last window ends."""

    number: int
    start_us: int
    end_us: int
    last_end_us: int
    fast: tuple[Range, Range]


class Panes(Kind):
    """Windows of `per_window` panes; window `j` ends with pane `j`. With one pane, windows do not overlap.

    A row is added to one pane, however many windows it belongs to. Panes are merged when a window closes.
    """

    def __init__(self, grid: Grid, per_window: int, lateness_us: int, aggregates: Aggregates) -> None:
        self._grid = grid
        self._per_window = per_window
        self._lateness_us = lateness_us
        self._aggregates = aggregates
        self._bounds: dict[int, Bounds] = {}

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
                ((text_of(start), text_of(end)), (start, end)),
            )
        return bounds

    def put(self, keyed: Keyed, moment_us: int, row: Any, losses: int) -> int:
        index, _, end_us, last_end_us, _ = self._of(moment_us)
        watermark_us = keyed.watermark_us
        if last_end_us + self._lateness_us <= watermark_us:
            return LATE
        bucket = keyed.buckets.get(index)
        if bucket is None:
            bucket = keyed.buckets[index] = Bucket(self._aggregates.empty(), losses)
        bucket.rows.append(row)
        next_us = end_us
        outcome = TAKEN
        if end_us <= watermark_us:
            next_us = self._next(index, watermark_us)
            outcome = UPDATED if self._lateness_us else PARTLY_LATE
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
            inside = [buckets[last]]
        elif self._per_window < len(buckets):
            inside = [buckets[index] for index in range(first, last + 1) if index in buckets]
        else:
            inside = [buckets[index] for index in sorted(buckets) if first <= index <= last]
        aggregates = self._aggregates
        states = aggregates.folded(inside[0].states, inside[0].rows)
        for bucket in inside[1:]:
            states = aggregates.merge(states, aggregates.folded(bucket.states, bucket.rows))
        start_us, end_us = self._grid.start(first), self._grid.start(last + 1)
        return Closed(keyed, start_us, end_us, states, min(bucket.losses for bucket in inside), final)

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
        """Possible in the pane of the watermark, if all windows before it are closed and forgotten."""
        watermark_us = keyed.watermark_us
        if watermark_us > NEVER:
            bounds = self._of(watermark_us)
            bucket = keyed.buckets.get(bounds.number)
            if bucket is not None and bounds.start_us <= watermark_us - self._lateness_us:
                keyed.fast = bounds.fast
                keyed.append = bucket.rows.append
                return
        keyed.slow()
