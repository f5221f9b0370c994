"""The ledger: the books in a table beside the data, so that a query can ask how complete its answer is."""

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
from streamd.ledger.tables import FOLD, FOLD_UNTIL, UNENDED_RUNS, UPSERT, UPSERT_PLACES, WRITTEN, statements
from streamd.sqlite.database import Database
from streamd.sqlite.rehearsal import rehearsed, try_statements

log = structlog.get_logger()

_MINUTE_S = 60
_ROWS_PER_STATEMENT = 500
_MARKS = frozenset({"start", "stop", "unclean"})
"""What the table says of a run beside the books."""
_IN_COMMIT = frozenset({"stored", "replaced", "expired"})
"""What a sink in the ledger's own file writes in the transaction that stores or deletes the rows."""


_NULLS = UPSERT_PLACES.replace("?", "NULL")


def _refusal(path: Path) -> str:
    return f"cannot write the ledger in {path}"


class Key(NamedTuple):
    """Which number of the books."""

    source: str
    pipeline: str
    sink: str
    counter: str
    reason: str


class Ledger:
    """Writes what has changed in the books since the last time; the sum over a run's rows is the books.

    Sinks that write into the same file put what they store into the transaction of their rows
    (`CommitLedger`): for them the table never says more or less than is there. Trouble with the file is
    never fatal: a change counts as written only when it is committed, so the next attempt has it too.
    """

    kind = ""
    """The reason on the rows of a run's start and end: what sort of run it was."""

    def __init__(
        self,
        books: Books,
        db: Database,
        run_id: str,
        interval_s: float,
        clock: Callable[[], Now] = read_clock,
        beside: Callable[[], Iterable[Entry]] = tuple,
        max_age_s: float | None = None,
    ) -> None:
        self.books = books
        self.run_id = run_id
        self.interval_s = interval_s
        self.trouble: str | None = None
        """Why the last attempt to write failed; None when it did not."""
        self.unclean_runs = 0
        """Runs found at the start that had begun and not ended."""
        self._db = db
        self._clock = clock
        self._beside = beside
        self._max_age_s = max_age_s
        self._written: Counter[Key] = Counter()
        self._moving: Counter[Key] = Counter()
        self._in_commit: set[tuple[str, str, str]] = set()
        """(source, pipeline, sink) whose stored numbers come with the sink's own commits."""
        self._before: dict[Key, int] = {}
        """What those stored elsewhere before a reload moved them here, and the table does not say yet."""
        self._flushed_wall_s = clock().wall_s

    async def open(self) -> None:
        """Make the tables, note runs that did not end, begin this one. Raises `EnvironmentFault`."""
        now_s = self._flushed_wall_s = self._clock().wall_s
        try:
            async with self._db.transaction():
                for statement in statements():
                    await self._db.execute(statement)
                await self._note_unended(now_s)
                await self._mark("start", from_epoch(now_s), self.run_id, 0, 1, self.kind)
        except (SinkError, sqlite3.Error) as error:
            raise EnvironmentFault(f"{_refusal(self._db.path)}: {error}") from error
        self._db.ledger = self
        self._db.recovery.add_user(self._go_on)

    async def _go_on(self) -> None:
        """The file was opened anew and may be another: what it says of this run is what is written."""
        async with self._db.transaction():
            for statement in statements():
                await self._db.execute(statement)
            there = {Key(*key): n for *key, n in await self._db.fetch(WRITTEN, (self.run_id,))}
            if not any(key.counter == "start" for key in there):
                await self._mark("start", from_epoch(self._clock().wall_s), self.run_id, 0, 1, self.kind)
        self._written = Counter({key: n for key, n in there.items() if key.counter not in _MARKS})
        self._in_commit, self._before = set(), {}

    @staticmethod
    def rehearse(path: Path) -> None:
        """Raises what opening the file and `open` would, and changes nothing. It blocks."""
        writing = (*statements(), f"EXPLAIN {UPSERT.format(_NULLS)}", f"EXPLAIN {UNENDED_RUNS}")
        with rehearsed(path) as connection:
            try_statements(connection, writing, path, _refusal(path))

    async def _note_unended(self, now_s: float) -> None:
        for run_id, kind, known_until in await self._db.fetch(UNENDED_RUNS):
            if not self._has_ended(kind):
                continue
            ((unknown_s,),) = await self._db.fetch(
                "SELECT max(0, (julianday(?) - julianday(?)) * 86400)",
                (from_epoch(now_s), known_until),
            )
            await self._mark("unclean", known_until, run_id, unknown_s, None, kind)
            self.unclean_runs += 1

    def _has_ended(self, kind: str) -> bool:
        """Whether a run of this kind without an end, seen when this one begins, cannot be running still."""
        del kind
        return True  # a replay that does run takes the row back when it ends

    async def flush(self) -> bool:
        """Write what has changed; False where that was not possible now."""
        now_s = self._clock().wall_s
        # What has changed did so since the last flush, so it belongs to the interval of the time between:
        # a flush that comes a little early or late for its boundary still means the interval it ends.
        at = from_epoch(self.interval_start_s((self._flushed_wall_s + now_s) / 2))
        changes: Mapping[Key, int] = {}
        try:
            if self._changes():
                async with self._db.transaction():  # in here no sink commits, so nothing is written twice
                    changes = self._changes()
                    await self._write(at, changes)
        except (SinkError, sqlite3.Error) as error:
            self.trouble = str(error)
            log.warning("ledger_not_written", path=str(self._db.path), why=str(error), hint="tried again")
            return False
        self._written.update(changes)
        for key in changes:
            self._before.pop(key, None)
        self._flushed_wall_s = now_s
        self.trouble = None
        await self._fold(now_s)
        return True

    async def close(self) -> None:
        """The last flush, and the row that says the run ended well. Without it the next start says so."""
        self._db.ledger = None
        self._db.recovery.remove_user(self._go_on)
        if not await self.flush():
            return
        try:
            # A second daemon on this file may have taken this run, still alive, for one that ended badly.
            await self._db.execute(
                "DELETE FROM ledger WHERE run_id = ? AND counter = 'unclean'", (self.run_id,)
            )
            await self._mark("stop", from_epoch(self._clock().wall_s), self.run_id, 0, 1, self.kind)
        except (SinkError, sqlite3.Error) as error:
            log.warning("ledger_not_closed", path=str(self._db.path), why=str(error))

    def rows(self, entries: Sequence[Entry]) -> tuple[str, list[tuple[Any, ...]]]:
        """For a sink's transaction: the statement that writes what it stores."""
        at = from_epoch(self.interval_start_s(self._clock().wall_s))
        self._moving = self._moved(entries)
        return self._statement(at, self._moving)

    def committed(self, entries: Sequence[Entry]) -> None:
        """The sink's transaction is committed: what `rows` said of these entries stands in the table."""
        places = {entry[:3] for entry in entries} - self._in_commit
        if places:
            self._note_before(places)
        self._written.update(self._moving)
        self._in_commit |= places

    def _note_before(self, places: set[tuple[str, str, str]]) -> None:
        """Of sinks that write here from now on; the books do not know of this first commit yet."""
        for entry in chain(self.books.entries(), self._beside()):
            key = Key(*entry[:5])
            if entry[:3] in places and entry.counter in _IN_COMMIT and entry.n != self._written[key]:
                self._before[key] = entry.n - self._written[key]

    def forget_sink(self, name: str) -> None:
        """The sink of that name has committed its last; one that follows may write to another file."""
        self._in_commit = {place for place in self._in_commit if place[2] != name}
        self._before = {key: n for key, n in self._before.items() if key.sink != name}

    def interval_start_s(self, wall_s: float) -> float:
        """When the interval of this moment began. Intervals of up to a minute begin anew with each minute."""
        minute_s = math.floor(wall_s / _MINUTE_S) * _MINUTE_S if self.interval_s <= _MINUTE_S else 0
        return minute_s + math.floor((wall_s - minute_s) / self.interval_s) * self.interval_s

    def due_in_s(self, wall_s: float) -> float:
        """Seconds until the interval of this moment ends."""
        end_s = self.interval_start_s(wall_s) + self.interval_s
        if self.interval_s <= _MINUTE_S:
            end_s = min(end_s, (math.floor(wall_s / _MINUTE_S) + 1) * _MINUTE_S)
        return max(end_s - wall_s, self.interval_s / 100)  # rounding must not make it spin

    def _changes(self) -> dict[Key, int]:
        """What the books say and the table does not yet."""
        changes: dict[Key, int] = {}
        for entry in chain(self.books.entries(), self._beside()):
            key, n = Key(*entry[:5]), entry.n
            if entry[:3] in self._in_commit:
                if entry.counter in _IN_COMMIT:
                    if key in self._before:
                        changes[key] = self._before[key]
                    continue
                if entry.counter == "pending":  # the table has heard of a commit before the book has
                    stored = key._replace(counter="stored")
                    known = self._written[stored] + self._before.get(stored, 0)
                    n += self.books.deliveries[entry[:3]].stored - known
            if n != self._written[key]:
                changes[key] = n - self._written[key]
        return changes

    def _moved(self, entries: Sequence[Entry]) -> Counter[Key]:
        """What a commit changes: records that are stored are pending no more.

        Those the table does not know yet are offered in the same breath, so that its sum holds at every
        moment: offered = stored + … + pending, and nothing is below zero.
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
        """Add up entries that are older than `max_age_s`, about as many at once as a flush may write."""
        if self._max_age_s is None:
            return
        try:
            before = (from_epoch(now_s - self._max_age_s), 2 * _ROWS_PER_STATEMENT)
            ((until,),) = await self._db.fetch(FOLD_UNTIL, before)
            if until is not None:
                async with self._db.transaction():
                    for statement in FOLD:
                        await self._db.execute(statement, (until,))
        except (SinkError, sqlite3.Error) as error:
            log.warning("ledger_not_folded", path=str(self._db.path), why=str(error), hint="tried again")

    def _statement(self, at: str, changes: Mapping[Key, int]) -> tuple[str, list[tuple[Any, ...]]]:
        """One statement for all rows, since each trip to the database's thread costs more than a row."""
        rows = [(at, self.run_id, self.interval_s, *key, n) for key, n in changes.items() if n]
        if len(rows) > _ROWS_PER_STATEMENT or not rows:
            return UPSERT.format(UPSERT_PLACES), rows
        return UPSERT.format(", ".join([UPSERT_PLACES] * len(rows))), [tuple(chain(*rows))]

    async def _mark(
        self, counter: str, at: str, run_id: str, interval_s: float, n: int | None, kind: str
    ) -> None:
        row = (at, run_id, interval_s, "", "", "", counter, kind, n)
        await self._db.execute(UPSERT.format(UPSERT_PLACES), row)
