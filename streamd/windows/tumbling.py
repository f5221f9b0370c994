"""Tumbling windows: each is one pane, and a closed one is forgotten at once."""

from typing import Any

from streamd.windows.grid import FixedGrid, Grid
from streamd.windows.keyed import LATE, TAKEN, Bucket, Closed, Keyed
from streamd.windows.moments import ALWAYS, NEVER
from streamd.windows.panes import Panes


class Tumbling(Panes):
    """Panes of which each is a window, without lateness. A key has one or two of them most of the time."""

    def __init__(self, grid: Grid, *others: Any) -> None:
        """As `Panes`."""
        super().__init__(grid, *others)
        self._fixed = grid if isinstance(grid, FixedGrid) else None
        """The grid whose arithmetic `take` does itself, because calls would cost more."""

    def put(self, keyed: Keyed, moment_us: int, row: Any, losses: int) -> int:
        index, _, end_us, _ = self._of(moment_us)
        if end_us <= keyed.watermark_us:
            return LATE
        bucket = keyed.buckets.get(index)
        if bucket is None:
            bucket = keyed.buckets[index] = Bucket(losses)
            if end_us < keyed.next_us:  # noqa: PLR1730 - a call costs more
                keyed.next_us = end_us
        bucket.rows.append(row)
        return TAKEN

    def take(self, keyed: Keyed, moment_us: int, row: Any, losses: int) -> list[Closed] | None:
        """`put`, `close` and `hurry` for a key with a watermark of its own, in one call. None: it is late."""
        fixed = self._fixed
        if fixed is not None:
            index = (moment_us - fixed.offset_us) // fixed.step_us
            start_us = index * fixed.step_us + fixed.offset_us
            end_us = start_us + fixed.step_us
        else:
            index, start_us, end_us, _ = self._of(moment_us)
        watermark_us = keyed.watermark_us
        if end_us <= watermark_us:
            return None
        buckets = keyed.buckets
        bucket = buckets.get(index)
        if bucket is None:
            bucket = buckets[index] = Bucket(losses)
            if end_us < keyed.next_us:  # noqa: PLR1730 - a call costs more
                keyed.next_us = end_us
        bucket.rows.append(row)
        closed: list[Closed] = []
        moved_us = moment_us - self._delay_us
        if moved_us >= keyed.next_us:
            closed = self.close(keyed, moved_us)
        elif moved_us > watermark_us:
            keyed.watermark_us = moved_us
        if len(buckets) == 1 and keyed.watermark_us >= start_us:  # as `hurry` would
            keyed.fast = self._range(index, index)
            keyed.rows = bucket.rows
        else:
            self.hurry(keyed)
        return closed

    def close(self, keyed: Keyed, watermark_us: int) -> list[Closed]:
        if watermark_us < keyed.next_us:
            keyed.watermark_us = max(keyed.watermark_us, watermark_us)
            return []
        keyed.watermark_us = watermark_us
        keyed.slow()
        buckets, start_of = keyed.buckets, self._grid.start
        closed: list[Closed] = []
        for index in sorted(buckets):
            end_us = start_of(index + 1)
            if end_us > watermark_us:
                keyed.next_us = end_us
                return closed
            bucket = buckets.pop(index)
            values = self._aggregates.result(bucket.states, bucket.rows)
            closed.append(Closed(keyed, start_of(index), end_us, values, bucket.losses))
        keyed.next_us = ALWAYS
        return closed

    def hurry(self, keyed: Keyed) -> None:
        buckets, watermark_us = keyed.buckets, keyed.watermark_us
        if not buckets or watermark_us == NEVER:
            keyed.slow()
            return
        newest = max(buckets) if len(buckets) > 1 else next(iter(buckets))
        keyed.fast = self._range(newest, self._grid.index(watermark_us))
        keyed.rows = buckets[newest].rows
