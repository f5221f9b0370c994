"""The writer connection to one SQLite file, with transactions, ledger entries and recovery."""

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
from streamd.sqlite.write_lock import WriteLock

Synchronous = Literal["normal", "full"]
Statement = asyncio.Future[list[tuple[Any, ...]]]
"""A statement under way on the connection's thread."""

_JOURNAL_MOST_BYTES = 32 * 2**20


class CommitLedger(Protocol):
    """Writes the numbers of a commit into the same transaction as the rows they count."""

    def rows(self, entries: Sequence[Entry]) -> tuple[str, list[tuple[Any, ...]]]:
        """The statement that writes `entries` to the ledger, and its parameters, one tuple for each row."""

    def committed(self, entries: Sequence[Entry]) -> None:
        """Called once the transaction with these entries is committed."""


class Database:
    """One writer connection to one SQLite file, in WAL mode, on a thread of its own.

    Writers use `transaction` or `write`, one at a time. Errors of the environment (locked, disk full, …) are
    raised as `SinkError`, errors of a statement or its data as `sqlite3.Error`.

    If a caller is cancelled, its running statement is awaited, then the transaction is rolled back. A
    cancellation during COMMIT is delayed until the outcome is known. If the commit succeeded, the caller's
    code after the transaction first runs up to its next await.
    """

    def __init__(
        self,
        path: Path,
        synchronous: Synchronous = "normal",
        *,
        reclaim: bool = False,
        write_lock: WriteLock | None = None,
    ) -> None:
        """`reclaim`: make a new file with auto_vacuum, so that `vacuum_some` can give free pages back.

        With a `write_lock`, each write transaction waits for its turn among several processes.
        """
        self.path = path
        self.reclaim = reclaim
        self.synchronous = synchronous
        self.lock = asyncio.Lock()
        self.ledger: CommitLedger | None = None
        self.set_aside: Path | None = None
        """The new path of a file that was corrupt at open."""
        self.write_ahead_log = WriteAheadLog(path, self._fetch_checked)
        self.recovery = Recovery(self)
        self._connection: SqliteConnection | None = None
        self._holder: asyncio.Task[Any] | None = None
        self._pending: list[Statement] = []
        self._hang_s = 0.0
        self.write_lock = write_lock

    async def open(self) -> None:
        """Open or create the file. A corrupt file is renamed and replaced. Raises `EnvironmentFault`."""
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
        """Open or create the file at the path. For `open` and `Recovery`. Raises `EnvironmentFault`."""
        files.prepare(self.path)
        if self.write_lock is not None:
            self.write_lock.open()
        connector = SqliteConnection.to(self.path)
        self._holder = asyncio.current_task()
        try:
            self._connection = connector
            await connector
            if self.reclaim:  # has no effect on a file with tables
                await self.fetch("PRAGMA auto_vacuum=INCREMENTAL")
            async with self.turn():
                await self._begin_log()
                self.recovery.begin()
            for pragma in (
                f"synchronous={self.synchronous}",
                f"wal_autocheckpoint={CHECKPOINT_PAGES}",
                f"journal_size_limit={_JOURNAL_MOST_BYTES}",
                "secure_delete=OFF",  # some builds turn it on, which overwrites every replaced row with zeros
            ):
                await self.fetch(f"PRAGMA {pragma}")
            await self._check_auto_vacuum()
            self._hang_s = failpoints.hang_s("sqlite.commit", self.path)
            if self._hang_s:
                await self._connection.create_function("streamd_hang", 1, time.sleep)
        except (SinkError, sqlite3.Error) as error:
            await self.disconnect()
            raise EnvironmentFault(f"cannot open the database {self.path}: {error}") from error
        finally:
            self._holder = None

    async def close(self) -> None:
        """Checkpoint the log and close. Safe to call twice. An error here loses no rows."""
        if self._connection is None:
            await self.recovery.close()
            self._close_lock()
            return
        if self.write_ahead_log.checkpoint is not None:
            await _done(self.write_ahead_log.checkpoint)
        try:
            async with self.lock, self.turn():
                self.recovery.check()
                for pragma in ("analysis_limit=400", "optimize", "wal_checkpoint(TRUNCATE)"):
                    await self.run(f"PRAGMA {pragma}")
        except (SinkError, sqlite3.Error) as error:
            structlog.get_logger(__name__).warning(
                "database_not_checkpointed", path=str(self.path), why=str(error)
            )
        await self.recovery.close()
        self._close_lock()

    @property
    def is_open(self) -> bool:
        """Whether the connection is open."""
        return self._connection is not None

    async def require(self, synchronous: Synchronous) -> None:
        """Use the stricter of two users' `synchronous` settings."""
        if synchronous == "full" and self.synchronous != "full":
            await self.fetch("PRAGMA synchronous=full")
            self.synchronous = "full"

    async def sizes_bytes(self) -> tuple[int, int]:
        """Size of the file's pages without the log, and the size of the free ones among them."""
        ((pages, free_pages, page_bytes),) = await self.fetch(
            "SELECT page_count, freelist_count, page_size"
            " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
        )
        return pages * page_bytes, free_pages * page_bytes

    async def used_bytes(self) -> int:
        """Size of the file's pages that are in use."""
        file_bytes, free_bytes = await self.sizes_bytes()
        return file_bytes - free_bytes

    async def vacuum_some(self, most_pages: int) -> None:
        """Give at most `most_pages` free pages back to the disk. Holds the write lock."""
        async with self.lock, self.turn():
            self.recovery.check()
            # Only as a script does this PRAGMA run to its end: it frees one page with each step.
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
        """Hold the write lock. Commits at the end, rolls back on any error.

        Yields a list for ledger entries, which `ledger` (if the file has one) writes in the same
        transaction. Only the task that opened the transaction may use it. Transactions do not nest.
        """
        if self._holder is not None and self._holder is asyncio.current_task():
            raise RuntimeError("a transaction was opened inside a transaction")
        async with self.lock:
            self._holder = asyncio.current_task()
            entries: list[Entry] = []
            try:
                self.recovery.check()
                if self._live.in_transaction:  # an earlier rollback failed, which only a failing disk causes
                    await self._rollback()
                async with self.turn():
                    self.recovery.check()  # again, because another process may have had the lock for long
                    try:
                        await self.run("BEGIN IMMEDIATE")
                        yield entries
                        await self._commit(entries)
                    except BaseException:
                        await self._rollback()
                        raise
            finally:
                self._holder = None

    async def write(self, statements: Iterable[tuple[str, Params]], entries: Sequence[Entry] = ()) -> None:
        """Run all statements as one transaction, in a single call to the connection's thread.

        The thread takes the statements from the iterable one by one. So values are bound while they are in
        the processor's cache, and the parameters of only one statement are in memory. `entries` go to the
        ledger as in `transaction`. On any error the transaction is rolled back.
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
            turn = None if self.write_lock is None else self.write_lock.turn(self.recovery.check_in_thread)
            await self._committed(self._live.write_all(chain(statements, work), turn), entries)

    async def execute(self, sql: str, params: Params = ()) -> None:
        """Run one statement in the caller's transaction, or in its own if the caller has none."""
        if self._holder is not None and self._holder is asyncio.current_task():
            await self.run(sql, params)
        else:
            async with self.transaction():
                await self.run(sql, params)

    async def execute_many(self, sql: str, rows: Iterable[Params]) -> None:
        """Run one statement for each row, all in one transaction as in `execute`."""
        if self._holder is not None and self._holder is asyncio.current_task():
            for row in rows:
                self.submit(sql, row)
            await self.settle()
        else:
            async with self.transaction():
                await self.execute_many(sql, rows)

    async def fetch(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """All rows of a query or PRAGMA. Waits while another task has a transaction open."""
        if self._holder is not None and self._holder is asyncio.current_task():
            return await self.run(sql, params)
        async with self.lock:
            return await self.run(sql, params)

    def submit(self, sql: str, params: Params = ()) -> Statement:
        """Start a statement of the open transaction without waiting for it.

        Statements run in the order of their submission. `settle` and the commit raise their errors.
        """
        task = self._send(sql, params)
        self._pending.append(task)
        return task

    async def settle(self, most_pending: int = 0) -> None:
        """Wait until at most `most_pending` statements are under way. Raises the first error."""
        while len(self._pending) > most_pending:
            await self._outcome(self._pending.pop(0))

    @property
    def _live(self) -> SqliteConnection:
        if self._connection is None:
            raise self.recovery.error() or RuntimeError(f"the database {self.path} is not open")
        return self._connection

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold the write lock, if several processes write to the file. A cancelled wait is waited for too.

        The caller must hold `lock`. A task that has the turn may ask for it again.
        """
        if self.write_lock is None or self.write_lock.held:
            yield
            return
        waiting = self._live.call(self.write_lock.acquire)
        try:
            if await _done(waiting):
                raise asyncio.CancelledError
            waiting.result()
            yield
        finally:
            self.write_lock.release()

    def _close_lock(self) -> None:
        if self.write_lock is not None:
            self.write_lock.close()

    async def _begin_log(self) -> None:
        ((journal_mode,),) = await self.fetch("PRAGMA journal_mode=WAL")
        if journal_mode != "wal":
            raise SinkError("no_wal", "no write-ahead log can be made there; use a local file system")
        await self.fetch("SELECT count(*) FROM sqlite_schema")  # creates the log and its index

    async def _fetch_checked(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a PRAGMA that writes to the file. Holds the write lock, and checks the files first."""
        async with self.lock:
            self.recovery.check()
            return await self.run(sql)

    async def _check_auto_vacuum(self) -> None:
        if not self.reclaim:
            return
        ((mode,),) = await self.fetch("PRAGMA auto_vacuum")
        self.reclaim = bool(mode)
        if not mode:
            structlog.get_logger(__name__).warning(
                "database_keeps_its_size",
                path=str(self.path),
                why="it was made without auto_vacuum: pages that retention frees are reused, not given back",
                hint="while streamd is stopped: PRAGMA auto_vacuum = INCREMENTAL; VACUUM;",
            )

    def _send(self, sql: str, params: Params = ()) -> Statement:
        # Fetching the rows in the same call leaves no cursor behind. A cursor collected on the loop's thread
        # would block it until the connection's current statement ends.
        rows = cast("Awaitable[list[tuple[Any, ...]]]", self._live.execute_fetchall(sql, params))
        return asyncio.ensure_future(rows)

    async def run(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """Run one statement. The caller must hold the lock."""
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
        """Wait for the commit, then report it to the ledger, and only then deliver a cancellation."""
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
        undo = asyncio.ensure_future(self._live.rollback())  # does nothing if SQLite has already rolled back
        cancelled = await _done(undo)
        error = undo.exception()
        if error is not None and not isinstance(error, sqlite3.Error):
            raise error
        if cancelled:
            raise asyncio.CancelledError

    async def disconnect(self) -> None:
        """Close the connection only. For `Recovery`, which must hold the lock."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await _done(asyncio.ensure_future(connection.close()))


async def _done(task: "asyncio.Future[Any]") -> bool:
    """Wait for the task or future to its end. True if the waiter was cancelled meanwhile."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            cancelled = True
    return cancelled
