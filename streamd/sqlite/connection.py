"""A connection to one SQLite file, on a thread of its own."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Self

import aiosqlite

from streamd.sqlite.write_lock import BUSY_TIMEOUT_S

Params = Sequence[Any]

_CACHED_STATEMENTS = 512

# At level debug it would log every parameter of every row.
logging.getLogger("aiosqlite").setLevel(logging.WARNING)


class SqliteConnection(aiosqlite.Connection):
    """An aiosqlite connection that can also run a whole transaction in one call to its thread.

    Each call to the thread costs a turn of the loop.
    """

    @classmethod
    def to(cls, path: Path) -> Self:
        """A connection to the file. It connects when it is awaited.

        Python's implicit BEGIN IMMEDIATE is needed. If a full disk makes SQLite roll back, the statements
        already under way begin a new transaction, which is rolled back too. Without the implicit BEGIN each
        of them would commit itself.
        """
        connect = partial(
            sqlite3.connect,
            path,
            timeout=BUSY_TIMEOUT_S,
            isolation_level="IMMEDIATE",
            cached_statements=_CACHED_STATEMENTS,
        )
        return cls(connect, iter_chunk_size=64)

    def call(self, function: Callable[[], Any]) -> "asyncio.Future[Any]":
        """Call a function on the thread, after the work that is queued there."""
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((outcome, function))
        return outcome

    def write_all(
        self, statements: Iterable[tuple[str, Params]], turn: AbstractContextManager[None] | None = None
    ) -> "asyncio.Future[list[Any]]":
        """Run all statements in one transaction on the thread, which is rolled back on any error.

        The iterable is consumed on the thread. The work is queued when this method returns. A task would
        queue it one turn of the loop later, and that turn may take milliseconds in which the thread is idle.
        With a `turn`, the thread is in it meanwhile.
        """
        return self.call(partial(_write_all, self._conn, statements, turn))


def _write_all(
    connection: sqlite3.Connection,
    statements: Iterable[tuple[str, Params]],
    turn: AbstractContextManager[None] | None,
) -> list[Any]:
    with turn or nullcontext():
        connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, params in statements:
                connection.execute(sql, params)
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()  # does nothing if SQLite has already rolled back
            raise
    return []
