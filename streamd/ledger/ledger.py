"""The ledger: the books in a SQL table, so that a query can find out how complete its data is."""

import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from streamd.core.books import Books
from streamd.core.clock import read_clock
from streamd.core.errors import EnvironmentFault, SinkError
from streamd.core.now import Now
from streamd.core.sums import Entry
from streamd.core.timestamp import from_epoch
from streamd.ledger.quality import FOLD as FOLD_QUALITY
from streamd.ledger.quality import STATEMENTS as OF_QUALITY
from streamd.ledger.quality import QualityTable
from streamd.ledger.tables import FOLD, FOLD_UNTIL, UNENDED_RUNS, UPSERT, UPSERT_PLACES, WRITTEN, statements
from streamd.sqlite.database import Database
from streamd.sqlite.rehearsal import rehearsed, try_statements

log = structlog.get_logger()

_MINUTE_S = 60
_ROWS_PER_STATEMENT = 500
_MARKS = frozenset({"start", "stop", "unclean"})
"""Counters of the table that mark the start and end of a run. The books do not contain them."""
_IN_COMMIT = frozenset({"stored", "replaced", "expired"})
"""Counters that a sink in the ledger's own file writes in the transaction that stores or deletes its rows."""

_NULLS = UPSERT_PLACES.replace("?", "NULL")


def _refusal(path: Path) -> str:
    return f"cannot write the ledger in {path}"


class Key(NamedTuple):
    """Identifies one number of the books."""

    source: str
    pipeline: str
    sink: str
    counter: str
    reason: str


class Ledger:
    """Writes the changes of the books to a table. The sum of a run's rows equals the books.

    A sink that writes to the same file adds its stored counts to the transaction of its rows
    (`CommitLedger`), so for that sink the table always matches the stored rows. A fault of the file is never
    fatal: a change counts as written only after its commit, and the next flush contains it again.
    """

    kind = ""
    """The kind of run, written as the reason of the rows that mark its start and end."""

    def __init__(
        self,
        books: Books,
        db: Database,
        run_id: str,
        interval_s: float,
        clock: Callable[[], Now] = read_clock,
        more_entries: Callable[[], Iterable[Entry]] = tuple,
        max_age_s: float | None = None,
        runs_beside: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`more_entries` returns entries outside the books. Rows older than `max_age_s` are added up.

        `runs_beside`: whether the run with this id may still be under way, in another process.
        """
        self.books = books
        self.run_id = run_id
        self.interval_s = interval_s
        self.trouble: str | None = None
        """The error of the last attempt to write, or None if it succeeded."""
        self.unclean_runs = 0
        """The number of runs without an end found at the start."""
        self._db = db
        self._clock = clock
        self._more_entries = more_entries
        self._max_age_s = max_age_s
        self._runs_beside = runs_beside
        self._written: Counter[Key] = Counter()
        self._moving: Counter[Key] = Counter()
        self._in_commit: set[tuple[str, str, str]] = set()
        """(source, pipeline, sink) of sinks that write their stored counts with their own commits."""
        self._before: dict[Key, int] = {}
        """Counts of these sinks from before a reload moved them to this file. The table lacks them still."""
        self._flushed_wall_s = clock().wall_s
        self._quality = QualityTable(books.quality)

    async def open(self) -> None:
        """Make the table and views, mark runs without an end, start this run. Raises `EnvironmentFault`."""
        now_s = self._flushed_wall_s = self._clock().wall_s
        try:
            async with self._db.transaction():
                for statement in (*statements(), *OF_QUALITY):
                    await self._db.execute(statement)
                await self._note_unended(now_s)
                await self._mark("start", from_epoch(now_s), self.run_id, 0, 1, self.kind)
                await self._name_sources(from_epoch(now_s))
        except (SinkError, sqlite3.Error) as error:
            raise EnvironmentFault(f"{_refusal(self._db.path)}: {error}") from error
        self._db.ledger = self
        self._db.recovery.add_user(self._resume)

    async def _name_sources(self, at: str) -> None:
        """Write a zero for each source: if the run is killed before its first flush, its minute has a row."""
        received = {Key(*entry[:5]) for entry in self.books.entries() if entry.counter == "received"}
        rows = [(at, self.run_id, 0, *key, 0) for key in sorted(received)]
        await self._db.execute_many(UPSERT.format(UPSERT_PLACES), rows)

    async def _resume(self) -> None:
        """Read back this run's numbers after the file was reopened, because it may be another file."""
        async with self._db.transaction():
            for statement in (*statements(), *OF_QUALITY):
                await self._db.execute(statement)
            there = {Key(*key): n for *key, n in await self._db.fetch(WRITTEN, (self.run_id,))}
            if not any(key.counter == "start" for key in there):
                await self._mark("start", from_epoch(self._clock().wall_s), self.run_id, 0, 1, self.kind)
        self._written = Counter({key: n for key, n in there.items() if key.counter not in _MARKS})
        # More in the table than in the books was committed, and the books will learn of it. Taken back, the
        # ledger would be below the rows.
        self._before = {
            key: entry.n - self._written[key]
            for entry in self._entries()
            if entry[:3] in self._in_commit and entry.counter in _IN_COMMIT
            for key in (Key(*entry[:5]),)
            if entry.n > self._written[key]
        }

    @staticmethod
    def rehearse(path: Path) -> None:
        """Raises the errors that opening the file and `open` would raise, and changes nothing. It blocks."""
        writing = (*statements(), *OF_QUALITY, f"EXPLAIN {UPSERT.format(_NULLS)}", f"EXPLAIN {UNENDED_RUNS}")
        with rehearsed(path) as connection:
            try_statements(connection, writing, path, _refusal(path))

    async def _note_unended(self, now_s: float) -> None:
        for run_id, kind, known_until in await self._db.fetch(UNENDED_RUNS):
            if not self._has_ended(kind) or self._runs_beside(run_id):
                continue
            ((unknown_s,),) = await self._db.fetch(
                "SELECT max(0, (julianday(?) - julianday(?)) * 86400)",
                (from_epoch(now_s), known_until),
            )
            await self._mark("unclean", known_until, run_id, unknown_s, None, kind)
            self.unclean_runs += 1

    def _has_ended(self, kind: str) -> bool:
        """Whether an earlier run of this kind without an end must be over by the start of this run."""
        del kind
        return True  # a replay that still runs deletes its `unclean` row when it ends

    async def flush(self) -> bool:
        """Write the changes. Returns False if the file could not be written."""
        now_s = self._clock().wall_s
        # The changes happened since the last flush, so the middle of that time selects their interval.
        # A flush a little before or after its boundary then still writes to the interval that ends there.
        at = from_epoch(self.interval_start_s((self._flushed_wall_s + now_s) / 2))
        changes: Mapping[Key, int] = {}
        try:
            if self._changes() or self._writes_quality:
                async with self._db.transaction():  # no sink commits meanwhile, so nothing is written twice
                    changes = self._changes()
                    await self._write(at, changes)
                    if self._writes_quality:
                        await self._quality.write(self._db, f"{at[:17]}00.000000Z")
                self._quality.committed()
        except (SinkError, sqlite3.Error, OverflowError) as error:
            self.trouble = str(error)
            log.warning("ledger_not_written", path=str(self._db.path), why=str(error), hint="tried again")
            return False
        finally:
            self._quality.withdraw()
        self._written.update(changes)
        for key in changes:
            self._before.pop(key, None)
        self._flushed_wall_s = now_s
        self.trouble = None
        await self._fold(now_s)
        return True

    @property
    def _writes_quality(self) -> bool:
        """Whether counts of rules are written. The run whose letters a replay reads has counted them."""
        return bool(self.books.quality) and not self.kind

    async def close(self) -> None:
        """Flush and mark the run's end. A run without this mark is reported as unclean by the next start."""
        self._db.ledger = None
        self._db.recovery.remove_user(self._resume)
        if not await self.flush():
            return
        try:
            # A second process on this file may have marked this run as unclean while it was running.
            await self._db.execute(
                "DELETE FROM ledger WHERE run_id = ? AND counter = 'unclean'", (self.run_id,)
            )
            await self._mark("stop", from_epoch(self._clock().wall_s), self.run_id, 0, 1, self.kind)
        except (SinkError, sqlite3.Error) as error:
            log.warning("ledger_not_closed", path=str(self._db.path), why=str(error))

    def rows(self, entries: Sequence[Entry]) -> tuple[str, list[tuple[Any, ...]]]:
        """The statement and rows that write these entries, for the transaction of a sink."""
        at = from_epoch(self.interval_start_s(self._clock().wall_s))
        self._moving = self._moved(entries)
        return self._statement(at, self._moving)

    def committed(self, entries: Sequence[Entry]) -> None:
        """Count the entries as written. Call it after the commit of the transaction with `rows`."""
        places = {entry[:3] for entry in entries} - self._in_commit
        if places:
            self._note_before(places)
        self._written.update(self._moving)
        self._in_commit |= places

    def _note_before(self, places: set[tuple[str, str, str]]) -> None:
        """Note earlier counts of sinks that write here from now on. The books lack their first commit."""
        for entry in self._entries():
            key = Key(*entry[:5])
            if entry[:3] in places and entry.counter in _IN_COMMIT and entry.n != self._written[key]:
                self._before[key] = entry.n - self._written[key]

    def _entries(self) -> Iterable[Entry]:
        return chain(self.books.entries(), self._more_entries())

    def forget_sink(self, name: str) -> None:
        """Forget the commits of a closed sink, because a sink of the same name may write to another file."""
        self._in_commit = {place for place in self._in_commit if place[2] != name}
        self._before = {key: n for key, n in self._before.items() if key.sink != name}

    def interval_start_s(self, wall_s: float) -> float:
        """The start of the interval at `wall_s`. Intervals of up to a minute are aligned to each minute."""
        minute_s = math.floor(wall_s / _MINUTE_S) * _MINUTE_S if self.interval_s <= _MINUTE_S else 0
        return minute_s + math.floor((wall_s - minute_s) / self.interval_s) * self.interval_s

    def due_in_s(self, wall_s: float) -> float:
        """Seconds until the interval at `wall_s` ends, above zero."""
        end_s = self.interval_start_s(wall_s) + self.interval_s
        if self.interval_s <= _MINUTE_S:
            end_s = min(end_s, (math.floor(wall_s / _MINUTE_S) + 1) * _MINUTE_S)
        return max(end_s - wall_s, self.interval_s / 100)  # a rounded 0 would make the caller spin

    def _changes(self) -> dict[Key, int]:
        """The differences between the books and the table."""
        changes: dict[Key, int] = {}
        for entry in self._entries():
            key, n = Key(*entry[:5]), entry.n
            if entry[:3] in self._in_commit:
                if entry.counter in _IN_COMMIT:
                    if key in self._before:
                        changes[key] = self._before[key]
                    continue
                if entry.counter == "pending":  # a commit reaches the table before the book
                    stored = key._replace(counter="stored")
                    known = self._written[stored] + self._before.get(stored, 0)
                    n += self.books.deliveries[entry[:3]].stored - known
            if n != self._written[key]:
                changes[key] = n - self._written[key]
        return changes

    def _moved(self, entries: Sequence[Entry]) -> Counter[Key]:
        """The changes of a sink's commit: stored records leave `pending`.

        Records that the table lacks in `pending` are added to `offered` in the same commit. The sum
        offered = stored + … + pending then holds at every moment, and no number is below zero.
        """
        moved: Counter[Key] = Counter()
        for entry in entries:
            moved[Key(*entry[:5])] += entry.n
        for key, n in list(moved.items()):
            if key.counter == "stored":
                pending, offered = key._replace(counter="pending"), key._replace(counter="offered")
                known = min(n, max(0, self._written[pending]))
                moved[pending] -= known
                moved[offered] += n - known
        return moved

    async def _write(self, at: str, changes: Mapping[Key, int]) -> None:
        items = list(changes.items())
        for start in range(0, len(items), _ROWS_PER_STATEMENT):
            sql, rows = self._statement(at, dict(items[start : start + _ROWS_PER_STATEMENT]))
            await self._db.execute_many(sql, rows)

    async def _fold(self, now_s: float) -> None:
        """Add up rows older than `max_age_s`, about twice as many at once as one statement writes."""
        if self._max_age_s is None:
            return
        try:
            before = (from_epoch(now_s - self._max_age_s), 2 * _ROWS_PER_STATEMENT)
            ((until,),) = await self._db.fetch(FOLD_UNTIL, before)
            if until is not None:
                async with self._db.transaction():
                    for statement in FOLD:
                        await self._db.execute(statement, (until,))
                    for statement in FOLD_QUALITY:
                        await self._db.execute(statement, (before[0],))
        except (SinkError, sqlite3.Error) as error:
            log.warning("ledger_not_folded", path=str(self._db.path), why=str(error), hint="tried again")

    def _statement(self, at: str, changes: Mapping[Key, int]) -> tuple[str, list[tuple[Any, ...]]]:
        """One statement for all rows, because a call to the database's thread costs more than a row."""
        rows = [(at, self.run_id, self.interval_s, *key, n) for key, n in changes.items() if n]
        if len(rows) > _ROWS_PER_STATEMENT or not rows:
            return UPSERT.format(UPSERT_PLACES), rows
        return UPSERT.format(", ".join([UPSERT_PLACES] * len(rows))), [tuple(chain(*rows))]

    async def _mark(
        self, counter: str, at: str, run_id: str, interval_s: float, n: int | None, kind: str
    ) -> None:
        row = (at, run_id, interval_s, "", "", "", counter, kind, n)
        await self._db.execute(UPSERT.format(UPSERT_PLACES), row)
