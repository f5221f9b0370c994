"""A connection to one SQLite file, on a thread of its own."""

import asyncio
import logging
import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import aiosqlite

Params = Sequence[Any]

_BUSY_TIMEOUT_S = 1.0
_CACHED_STATEMENTS = 512

# At debug it would print every parameter of every row.
logging.getLogger("aiosqlite").setLevel(logging.WARNING)


class SqliteConnection(aiosqlite.Connection):
    """With one more way in: a whole transaction in one trip to the thread; each trip costs a turn."""

    @classmethod
    def to(cls, path: Path) -> Self:
        """Not connected before it is awaited.

        Python's implicit BEGIN IMMEDIATE is wanted: where a full disk has made SQLite roll back, statements
        already under way begin a new transaction, which is rolled back too; they never commit themselves.
        """
        connect = partial(
            sqlite3.connect,
            path,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level="IMMEDIATE",
            cached_statements=_CACHED_STATEMENTS,
        )
        return cls(connect, iter_chunk_size=64)

    def write_all(self, statements: Iterable[tuple[str, Params]]) -> "asyncio.Future[list[Any]]":
        """Begin, run every statement, commit; roll back where anything fails. They are made on the thread.

        It is on its way there when this returns. A task would hand it over a turn of the loop later, and what
        else is ready in that turn may take milliseconds, in which the thread would have nothing to do.
        """
        outcome: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((outcome, partial(_write_all, self._conn, statements)))
        return outcome


def _write_all(connection: sqlite3.Connection, statements: Iterable[tuple[str, Params]]) -> list[Any]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for sql, params in statements:
            connection.execute(sql, params)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()  # does nothing where SQLite has done it itself
        raise
    return []
