"""Deletes rows that are too old or too many, in small steps between the commits of the writers."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog

from streamd.core.clock import read_clock
from streamd.core.counters import Counters
from streamd.core.errors import SinkError
from streamd.core.now import Now
from streamd.core.sums import Entry
from streamd.core.timestamp import from_epoch
from streamd.sqlite.database import Database
from streamd.sqlite.table import Table, quote

log = structlog.get_logger()

_LOOK_EVERY_S = 0.25
"""Seconds between two checks, each of two small queries. At 300,000 rows a second the file grows by about
2 MB meanwhile."""
_REST_S = 0.002
"""Pause between two steps, in which waiting writers get the lock."""
_RETRY_S = 5.0
_STEP_S = 0.005
"""Longest time of one step, while writers wait for the lock. The size of the next step is adapted to it."""
_FEWEST_ROWS, _MOST_ROWS = 50, 8192
_FIRST_ROWS = 500
_FEWEST_PAGES, _MOST_PAGES = 16, 512
_FAR_OVER_SHARE, _FAR_ROWS, _FAR_BYTES = 8, 65536, 16 * 2**20
"""A file more than 1/8 above `max_size` grows faster than short steps shrink it, for example on a busy
machine. Its steps delete up to this many rows and bytes, however long that takes: the bound is then more
important than the wait of the writers."""
_SLACK_SHARE, _MOST_SHARE = 64, 16
"""Divisors of `max_size`. A step aims at 1/64 below the bound, so that not every check finds a few rows to
delete, and never goes more than 1/16 below it."""
_PAGE_BYTES = 4096
"""Space is freed in pages, so a step that freed less counts as having freed one page."""
_FREE_SHARE = 8
"""Free pages are given back only if they are more than one in this many. New rows use the others."""


class Age(NamedTuple):
    """The timestamp column that holds the age of a row.

    If it is not `indexed`, rows are assumed to be in the order of their age, as they are for the time of
    receipt. Then it is enough to read the first rows. A row without a time is deleted together with the next
    row that has one.
    """

    column: str
    indexed: bool


class _TooMuchError(Exception):
    """A step would delete far more than needed. Its transaction is rolled back."""


async def run_retention(step: Callable[[], Awaitable[bool]], sink: str) -> None:
    """Run `step` until cancelled, and soon again if it returns True. Errors are logged, not raised."""
    trouble: str | None = None
    while True:
        try:
            more = await step()
        except (SinkError, sqlite3.Error, OSError) as error:
            if trouble != str(error):
                log.warning("retention_retrying", sink=sink, why=str(error), retry_in_s=_RETRY_S)
            trouble = str(error)
            await asyncio.sleep(_RETRY_S)
        except Exception as error:  # an unexpected error must not end the daemon, which still stores records
            log.exception("retention_failed", sink=sink, error=repr(error), retry_in_s=_RETRY_S)
            await asyncio.sleep(_RETRY_S)
        else:
            trouble = None
            await asyncio.sleep(_REST_S if more else _LOOK_EVERY_S)


class Retention:
    """Deletes the oldest rows of one sink's table, by age and by the size of the database file."""

    def __init__(
        self,
        table: Table,
        sink: str,
        counters: Counters,
        *,
        age: Age | None,
        max_age_s: float | None,
        clock: Callable[[], Now] = read_clock,
    ) -> None:
        self.max_age_s = max_age_s
        self._table = table
        self._sink = sink
        self._counters = counters
        self._age = age
        self._clock = clock
        self._rows = _FIRST_ROWS
        self._row_bytes = 0.0
        """Size of a row, as measured in the last step; 0 before the first step."""
        self._pages = _FEWEST_PAGES

    @property
    def now(self) -> datetime:
        """The present, in UTC."""
        return datetime.fromtimestamp(self._clock().wall_s, UTC)

    @property
    def cutoff(self) -> datetime | None:
        """Rows from before this time are too old; None if no row can be."""
        if self.max_age_s is None:
            return None
        try:
            return self.now - timedelta(seconds=self.max_age_s)
        except OverflowError:
            return None

    async def step(self, database: Database, max_bytes: int | None) -> bool:
        """Delete some rows in one transaction, or give some pages back. True if there may be more to do."""
        too_old = await self._too_old(database)
        if too_old is not None:
            return await self._delete(database, *too_old) > 0
        file_bytes, free_bytes = await database.sizes_bytes()
        used_bytes = file_bytes - free_bytes
        if (
            max_bytes is not None
            and used_bytes > max_bytes
            and await self._shrink(database, used_bytes, max_bytes)
        ):
            return True
        too_long = max_bytes is not None and file_bytes > max_bytes + max_bytes // _FREE_SHARE
        if database.reclaim and free_bytes and (too_long or free_bytes > file_bytes // _FREE_SHARE):
            started_s = time.monotonic()
            await database.vacuum_some(self._pages)
            self._pages = _fitting(self._pages, time.monotonic() - started_s, _FEWEST_PAGES, _MOST_PAGES)
            return True
        return False

    def expired(self, n: int) -> None:
        """Count `n` deleted rows."""
        self._counters.add("expired", n)

    async def _too_old(self, database: Database) -> tuple[str, str | int] | None:
        """An SQL condition with its parameter for rows that are too old; None if there are none."""
        cutoff = self.cutoff
        if self._age is None or cutoff is None:
            return None
        table, number, column = quote(self._table.name), self._table.row_number, quote(self._age.column)
        oldest_kept = from_epoch(cutoff.timestamp())
        if self._age.indexed:
            old = f"SELECT {number} FROM {table} WHERE {column} < ? ORDER BY {column} LIMIT"  # noqa: S608 - quoted
            found = await database.fetch(f"{old} 1", (oldest_kept,))
            return (f"{number} IN ({old} {self._rows})", oldest_kept) if found else None
        first = f"SELECT {number}, {column} FROM {table} ORDER BY {number} LIMIT"  # noqa: S608 - quoted
        head = await database.fetch(f"{first} 1")
        if not head or (head[0][1] is not None and head[0][1] >= oldest_kept):
            return None
        last_old = None
        for row, at in await database.fetch(f"{first} {self._rows}"):
            if at is not None and at >= oldest_kept:
                break
            last_old = row if at is not None else last_old
        return None if last_old is None else (f"{number} <= ?", last_old)

    async def _shrink(self, database: Database, used_bytes: int, max_bytes: int) -> bool:
        """Delete the oldest rows by rowid. False if there are none.

        The number of rows is estimated from the row size of the last step. If the rows are so much larger
        that the file would fall far below the bound, the step is rolled back and the next one is smaller.
        """
        table, number = quote(self._table.name), self._table.row_number
        rows = self._rows
        if self._row_bytes:
            goal_bytes = used_bytes - max_bytes + max_bytes // _SLACK_SHARE
            if used_bytes > max_bytes + max_bytes // _FAR_OVER_SHARE:
                rows = max(rows, min(_FAR_ROWS, int(_FAR_BYTES / self._row_bytes)))
            rows = max(1, min(rows, int(goal_bytes / self._row_bytes)))
        first = f"SELECT {number} AS n FROM {table} ORDER BY {number} LIMIT {rows}"  # noqa: S608 - quoted
        ((last,),) = await database.fetch(f"SELECT max(n) FROM ({first})")  # noqa: S608 - as above
        if last is None:
            return False
        try:
            return (
                await self._delete(database, f"{number} <= ?", last, max_bytes - max_bytes // _MOST_SHARE) > 0
            )
        except _TooMuchError:
            return True

    async def _delete(
        self, database: Database, condition: str, param: str | int, least_bytes: int | None = None
    ) -> int:
        """Delete and count rows. Raises `_TooMuchError` if less than `least_bytes` would stay in use."""
        delete = f"DELETE FROM {quote(self._table.name)} WHERE {condition}"  # noqa: S608 - names are quoted
        async with database.transaction() as entries:
            before_bytes = await database.used_bytes()
            started_s = time.monotonic()
            await database.execute(delete, (param,))
            took_s = time.monotonic() - started_s
            ((deleted,),) = await database.fetch("SELECT changes()")
            left_bytes = await database.used_bytes()
            self._rows = _fitting(self._rows, took_s, _FEWEST_ROWS, _MOST_ROWS)
            if deleted:
                self._row_bytes = max(before_bytes - left_bytes, _PAGE_BYTES) / deleted
                entries.append(Entry("", "", self._sink, "expired", "", deleted))
            if least_bytes is not None and left_bytes < least_bytes and deleted > 1:
                raise _TooMuchError
        self.expired(deleted)
        return int(deleted)


def _fitting(size: int, took_s: float, fewest: int, most: int) -> int:
    """The size of the next step, so that it takes about `_STEP_S`."""
    if took_s > _STEP_S:
        return max(fewest, size // 2)
    return min(most, size * 2) if took_s < _STEP_S / 4 else size
