"""One writer connection to one SQLite file."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import structlog

from streamd.core import failpoints
from streamd.core.errors import EnvironmentFault, SinkError
from streamd.core.sums import Entry
from streamd.sqlite import files
from streamd.sqlite.connection import Params, SqliteConnection
from streamd.sqlite.faults import environment_fault
from streamd.sqlite.recovery import Recovery
from streamd.sqlite.write_ahead_log import CHECKPOINT_PAGES, WriteAheadLog

Synchronous = Literal["normal", "full"]
Statement = asyncio.Future[list[tuple[Any, ...]]]
"""A statement under way on the connection's thread."""

_JOURNAL_MOST_BYTES = 32 * 2**20


class CommitLedger(Protocol):
    """Writes the numbers of a commit into the same transaction as the rows they count."""

    def rows(self, entries: Sequence[Entry]) -> tuple[str, list[tuple[Any, ...]]]:
        """The statement that writes `entries` into the ledger, and its parameters, a tuple a row."""

    def committed(self, entries: Sequence[Entry]) -> None:
        """The transaction with these rows has been committed."""


class Database:
    """One writer connection to one SQLite file, in WAL mode, on a thread of its own.

    Whoever writes opens a `transaction`; there is one at a time. Errors of the environment (locked, disk
    full, …) come as `SinkError`, errors of a statement or its data as the `sqlite3.Error` they are.

    A cancelled caller never leaves a statement with unknown outcome behind: it is awaited, then the
    transaction is rolled back. One that comes during COMMIT is delivered when the outcome is known and,
    where that is success, when the caller's code after the transaction has run up to its next await.
    """

    def __init__(self, path: Path, synchronous: Synchronous = "normal", *, reclaim: bool = False) -> None:
        """With `reclaim` a new file is made so that `vacuum_some` can give its free pages back."""
        self.path = path
        self.reclaim = reclaim
        self.synchronous = synchronous
        self.lock = asyncio.Lock()
        self.ledger: CommitLedger | None = None
        self.set_aside: Path | None = None
        """Where the file went that was found corrupt at open."""
        self.write_ahead_log = WriteAheadLog(path, self._fetch_in_place)
        self.recovery = Recovery(self)
        self._connection: SqliteConnection | None = None
        self._holder: asyncio.Task[Any] | None = None
        self._pending: list[Statement] = []
        self._hang_s = 0.0

    async def open(self) -> None:
        """Make or open the file. A corrupt one is renamed and a fresh one made. Raises `EnvironmentFault`."""
        files.refuse_unusable(self.path)
        fault = await asyncio.to_thread(files.fault_of, self.path)
        if fault is not None:
            self.set_aside = files.set_aside(self.path)
            structlog.get_logger(__name__).error(
                "database_set_aside", path=str(self.path), moved_to=str(self.set_aside), why=fault
            )
        try:
            await self.connect()
        except BaseException:
            await self.recovery.close()
            raise

    async def connect(self) -> None:
        """Make or open what is at the path. For `open` and `Recovery`. Raises `EnvironmentFault`."""
        files.prepare(self.path)
        connector = SqliteConnection.to(self.path)
        self._holder = asyncio.current_task()
        try:
            self._connection = connector
            await connector
            if self.reclaim:  # means nothing to a file that has tables
                await self.fetch("PRAGMA auto_vacuum=INCREMENTAL")
            await self._begin_log()
            for pragma in (
                f"synchronous={self.synchronous}",
                f"wal_autocheckpoint={CHECKPOINT_PAGES}",
                f"journal_size_limit={_JOURNAL_MOST_BYTES}",
                "secure_delete=OFF",  # on in some builds: it writes zeros over every row that is replaced
            ):
                await self.fetch(f"PRAGMA {pragma}")
            await self._look_for_vacuum()
            self._hang_s = failpoints.hang_s("sqlite.commit", self.path)
            if self._hang_s:
                await self._connection.create_function("streamd_hang", 1, time.sleep)
            self.recovery.begin()
        except (SinkError, sqlite3.Error) as error:
            await self.disconnect()
            raise EnvironmentFault(f"cannot open the database {self.path}: {error}") from error
        finally:
            self._holder = None

    async def close(self) -> None:
        """Bring the log into the file and close. Safe to call twice; a fault here loses nothing."""
        if self._connection is None:
            await self.recovery.close()
            return
        if self.write_ahead_log.checkpoint is not None:
            await _done(self.write_ahead_log.checkpoint)
        try:
            for pragma in ("analysis_limit=400", "optimize", "wal_checkpoint(TRUNCATE)"):
                await self._fetch_in_place(f"PRAGMA {pragma}")
        except (SinkError, sqlite3.Error) as error:
            structlog.get_logger(__name__).warning(
                "database_not_checkpointed", path=str(self.path), why=str(error)
            )
        await self.recovery.close()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    async def require(self, synchronous: Synchronous) -> None:
        """Where two users of the file differ, the stricter wins."""
        if synchronous == "full" and self.synchronous != "full":
            await self.fetch("PRAGMA synchronous=full")
            self.synchronous = "full"

    async def sizes_bytes(self) -> tuple[int, int]:
        """What the file's pages take, without the log beside it, and how much of that is free."""
        ((pages, free_pages, page_bytes),) = await self.fetch(
            "SELECT page_count, freelist_count, page_size"
            " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
        )
        return pages * page_bytes, free_pages * page_bytes

    async def used_bytes(self) -> int:
        """What of the file's pages is not free."""
        file_bytes, free_bytes = await self.sizes_bytes()
        return file_bytes - free_bytes

    async def vacuum_some(self, most_pages: int) -> None:
        """Give so many free pages back to the disk; nobody writes meanwhile."""
        async with self.lock:
            self.recovery.check()
            # A PRAGMA that works step by step is run to its end only as a script.
            script = f"PRAGMA incremental_vacuum({most_pages})"
            task = asyncio.ensure_future(self._live.executescript(script))
            if await _done(task):
                raise asyncio.CancelledError
            try:
                await task.result().close()
            except sqlite3.Error as error:
                raise environment_fault(error) or error from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[list[Entry]]:
        """Hold the write lock; commit at the end, roll back on any error.

        Gives a list: the entries put into it are written by `ledger`, if this file has one, in the same
        transaction. Only the task that opened it may use it, and transactions do not nest.
        """
        if self._holder is not None and self._holder is asyncio.current_task():
            raise RuntimeError("a transaction was opened inside a transaction")
        async with self.lock:
            self._holder = asyncio.current_task()
            entries: list[Entry] = []
            try:
                self.recovery.check()
                if self._live.in_transaction:  # a rollback failed, which only a failing disk brings about
                    await self._rollback()
                await self.run("BEGIN IMMEDIATE")
                yield entries
                await self._commit(entries)
            except BaseException:
                await self._rollback()
                raise
            finally:
                self._holder = None

    async def write(self, statements: Iterable[tuple[str, Params]], entries: Sequence[Entry] = ()) -> None:
        """Run all statements as one transaction, in a single trip to the connection's thread.

        They are taken from the iterable there, one by one: a value that is bound at once is still in that
        processor's cache, and the parameters of one statement are all that is held.
        `entries` go to the ledger as with `transaction`. On any error nothing of it is kept.
        """
        async with self.lock:
            self.recovery.check()
            if self._live.in_transaction:  # as in `transaction`
                await self._rollback()
            work: list[tuple[str, Params]] = []
            if entries and self.ledger is not None:
                sql, rows = self.ledger.rows(entries)
                work += [(sql, row) for row in rows]
            if entries and self._hang_s:
                seconds, self._hang_s = self._hang_s, 0.0
                work.append(("SELECT streamd_hang(?)", (seconds,)))
            await self._committed(self._live.write_all(chain(statements, work)), entries)

    async def execute(self, sql: str, params: Params = ()) -> None:
        """Run one statement, in the caller's transaction or, where it has none, in one of its own."""
        if self._holder is not None and self._holder is asyncio.current_task():
            await self.run(sql, params)
        else:
            async with self.transaction():
                await self.run(sql, params)

    async def execute_many(self, sql: str, rows: Iterable[Params]) -> None:
        """Run one statement once for each row; like `execute`, all in one transaction."""
        if self._holder is not None and self._holder is asyncio.current_task():
            for row in rows:
                self.submit(sql, row)
            await self.settle()
        else:
            async with self.transaction():
                await self.execute_many(sql, rows)

    async def fetch(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """All rows of a query (or PRAGMA). It waits while another task has a transaction."""
        if self._holder is not None and self._holder is asyncio.current_task():
            return await self.run(sql, params)
        async with self.lock:
            return await self.run(sql, params)

    def submit(self, sql: str, params: Params = ()) -> Statement:
        """Send a statement of the open transaction on its way without waiting for it.

        Statements run in the order they were sent. Errors are raised by `settle` and by the commit.
        """
        task = self._send(sql, params)
        self._pending.append(task)
        return task

    async def settle(self, most_pending: int = 0) -> None:
        """Wait until at most `most_pending` statements are under way; raises the first error met."""
        while len(self._pending) > most_pending:
            await self._outcome(self._pending.pop(0))

    @property
    def _live(self) -> SqliteConnection:
        if self._connection is None:
            raise self.recovery.error() or RuntimeError(f"the database {self.path} is not open")
        return self._connection

    async def _begin_log(self) -> None:
        ((journal_mode,),) = await self.fetch("PRAGMA journal_mode=WAL")
        if journal_mode != "wal":
            raise SinkError("no_wal", "no write-ahead log can be made there; use a local file system")
        await self.fetch("SELECT count(*) FROM sqlite_schema")  # makes the log and its index

    async def _fetch_in_place(self, sql: str) -> list[tuple[Any, ...]]:
        """For a PRAGMA that writes into the file."""
        async with self.lock:
            self.recovery.check()
            return await self.run(sql)

    async def _look_for_vacuum(self) -> None:
        if not self.reclaim:
            return
        ((mode,),) = await self.fetch("PRAGMA auto_vacuum")
        self.reclaim = bool(mode)
        if not mode:
            structlog.get_logger(__name__).warning(
                "database_keeps_its_size",
                path=str(self.path),
                why="it was made without auto_vacuum: what retention frees is used again, never given back",
                hint="while streamd is stopped: PRAGMA auto_vacuum = INCREMENTAL; VACUUM;",
            )

    def _send(self, sql: str, params: Params = ()) -> Statement:
        # Fetching the rows in the same step leaves no cursor behind: one that is collected on the loop's
        # thread would wait there for whatever statement the connection is in.
        rows = cast("Awaitable[list[tuple[Any, ...]]]", self._live.execute_fetchall(sql, params))
        return asyncio.ensure_future(rows)

    async def run(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """One statement, by the task that holds the lock."""
        return await self._outcome(self._send(sql, params))

    async def _outcome(self, task: Statement) -> list[tuple[Any, ...]]:
        if await _done(task):
            raise asyncio.CancelledError
        try:
            return task.result()
        except sqlite3.Error as error:
            fault = environment_fault(error)
            if fault is None:
                raise
            raise fault from error

    async def _commit(self, entries: list[Entry]) -> None:
        await self.settle()
        if entries and self.ledger is not None:
            await self.execute_many(*self.ledger.rows(entries))
        if entries and self._hang_s:
            seconds, self._hang_s = self._hang_s, 0.0
            await self.run("SELECT streamd_hang(?)", (seconds,))
        await self._committed(self._send("COMMIT"), entries)

    async def _committed(self, commit: Statement, entries: Sequence[Entry]) -> None:
        """Wait for the task whose success is a commit; then tell the ledger, and only then a cancellation."""
        cancelled = await _done(commit)
        if cancelled and commit.exception() is not None:
            raise asyncio.CancelledError
        await self._outcome(commit)
        await self.recovery.committed()
        if entries and self.ledger is not None:
            self.ledger.committed(entries)
        self.write_ahead_log.committed(sum(entry.n for entry in entries))
        task = asyncio.current_task()
        if cancelled and task is not None:
            task.uncancel()
            asyncio.get_running_loop().call_soon(task.cancel)

    async def _rollback(self) -> None:
        pending, self._pending = self._pending, []
        for task in pending:
            await _done(task)
            task.exception()
        undo = asyncio.ensure_future(self._live.rollback())  # does nothing where SQLite has done it itself
        cancelled = await _done(undo)
        error = undo.exception()
        if error is not None and not isinstance(error, sqlite3.Error):
            raise error
        if cancelled:
            raise asyncio.CancelledError

    async def disconnect(self) -> None:
        """Close the connection and nothing else. For `Recovery`, with the lock held."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await _done(asyncio.ensure_future(connection.close()))


async def _done(task: "asyncio.Future[Any]") -> bool:
    """Wait for the task or future, also where the waiter is cancelled: True then."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            cancelled = True
    return cancelled
