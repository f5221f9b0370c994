"""What is too old or too much goes, a little at a time, between the commits of those who write."""

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
"""Two small queries. At 300,000 rows a second some 2 MB come in between."""
_REST_S = 0.002
"""Between two steps; whoever waits for the lock by then comes first."""
_RETRY_S = 5.0
_STEP_S = 0.005
"""What one step may take while others wait for the lock; the next is made larger or smaller to fit."""
_FEWEST_ROWS, _MOST_ROWS = 50, 8192
_FIRST_ROWS = 500
_FEWEST_PAGES, _MOST_PAGES = 16, 512
_SLACK_SHARE, _MOST_SHARE = 64, 16
"""Of `max_size`: what goes beyond it, that not every look finds a few rows, and what may go at most."""
_PAGE_BYTES = 4096
"""Space is freed in pages: what rows took that freed none is known no better."""
_FREE_SHARE = 8
"""Free pages are given back when they are more than one part in so many: rows that come use the others."""


class Age(NamedTuple):
    """The column that says how old a row is.

    Without `indexed` rows are taken to stand in the order of their age, as they do by the time they were
    received: then looking at the first ones is enough. A row of unknown age goes with the next one behind it
    whose age is known.
    """

    column: str
    indexed: bool


class _TooMuchError(Exception):
    """More rows would go than the bound asks for: the transaction is rolled back."""


async def keep(step: Callable[[], Awaitable[bool]], sink: str) -> None:
    """Step until cancelled, and soon again where a step leaves more to do. Trouble is logged, not raised."""
    trouble: str | None = None
    while True:
        try:
            more = await step()
        except (SinkError, sqlite3.Error, OSError) as error:
            if trouble != str(error):
                log.warning("retention_retrying", sink=sink, why=str(error), retry_in_s=_RETRY_S)
            trouble = str(error)
            await asyncio.sleep(_RETRY_S)
        except Exception as error:  # a fault of this code must not end the daemon, which stores on
            log.exception("retention_failed", sink=sink, error=repr(error), retry_in_s=_RETRY_S)
            await asyncio.sleep(_RETRY_S)
        else:
            trouble = None
            await asyncio.sleep(_REST_S if more else _LOOK_EVERY_S)


class Retention:
    """Deletes the oldest rows of one sink's table, by age and by the size of the file it is in."""

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
        """Of a row as the last step found it; 0 before the first."""
        self._pages = _FEWEST_PAGES

    @property
    def now(self) -> datetime:
        """The present, in UTC."""
        return datetime.fromtimestamp(self._clock().wall_s, UTC)

    @property
    def cutoff(self) -> datetime | None:
        """What is from before this moment is too old; None where nothing can be."""
        if self.max_age_s is None:
            return None
        try:
            return self.now - timedelta(seconds=self.max_age_s)
        except OverflowError:
            return None

    async def step(self, database: Database, max_bytes: int | None) -> bool:
        """Delete some rows in one transaction, or give some pages back; whether there may be more to do."""
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
        """Count rows that are gone."""
        self._counters.add("expired", n)

    async def _too_old(self, database: Database) -> tuple[str, str | int] | None:
        """Which rows go now because of their age, as a condition and its parameter."""
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
        """Delete the oldest rows by their number, or learn that fewer have to go; False where none went.

        How many is reckoned from what the rows of the last step took. Rows differ: where they took so much
        more that the file would fall far below the bound, nothing of the step is kept.
        """
        table, number = quote(self._table.name), self._table.row_number
        rows = self._rows
        if self._row_bytes:
            goal_bytes = used_bytes - max_bytes + max_bytes // _SLACK_SHARE
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
        """Delete and count. Raises `_TooMuchError` where less than `least_bytes` would stay in use."""
        delete = f"DELETE FROM {quote(self._table.name)} WHERE {condition}"  # noqa: S608 - names are quoted
        async with database.transaction() as entries:
            before_bytes = await _used_bytes(database)
            started_s = time.monotonic()
            await database.execute(delete, (param,))
            took_s = time.monotonic() - started_s
            ((deleted,),) = await database.fetch("SELECT changes()")
            left_bytes = await _used_bytes(database)
            self._rows = _fitting(self._rows, took_s, _FEWEST_ROWS, _MOST_ROWS)
            if deleted:
                self._row_bytes = max(before_bytes - left_bytes, _PAGE_BYTES) / deleted
                entries.append(Entry("", "", self._sink, "expired", "", deleted))
            if least_bytes is not None and left_bytes < least_bytes and deleted > 1:
                raise _TooMuchError
        self.expired(deleted)
        return int(deleted)


async def _used_bytes(database: Database) -> int:
    file_bytes, free_bytes = await database.sizes_bytes()
    return file_bytes - free_bytes


def _fitting(size: int, took_s: float, fewest: int, most: int) -> int:
    """The size of the next step."""
    if took_s > _STEP_S:
        return max(fewest, size // 2)
    return min(most, size * 2) if took_s < _STEP_S / 4 else size
