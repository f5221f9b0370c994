"""Inserts many rows into one table, with wide statements of few sizes that stay in the statement cache."""

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from streamd.core.errors import SinkError
from streamd.sqlite.database import Database
from streamd.sqlite.faults import SQLITE_CONSTRAINT_DATATYPE, primary_code
from streamd.sqlite.table import quote

MOST_PARAMS = 32_766
"""Most parameters of one statement, since SQLite 3.32."""
MOST_ROWS = 1024
"""Most rows in one statement. From 64 rows on the cost of a row stays the same, and the loop's thread
flattens 1,024 rows in 0.1 ms."""
_MOST_UNDER_WAY = 3
"""Most statements queued for the connection's thread: enough to keep it busy, with few parameters held."""

DATA_ERRORS = (sqlite3.Error, OverflowError, UnicodeError)
"""Errors of a statement that its values cause. Faults of the environment are raised as `SinkError`."""

_REASONS = {
    0: "row:type",  # raised by Python for a value of a type that cannot be bound
    sqlite3.SQLITE_CONSTRAINT: "sqlite:constraint",
    sqlite3.SQLITE_MISMATCH: "row:type",
    sqlite3.SQLITE_TOOBIG: "sqlite:too_big",
}

_INTEGERS = {True: 1, False: 0, None: None}

Row = tuple[Any, ...]
BadRow = tuple[int, str, str]
"""Index, reason and detail of a row that cannot be stored."""


class Insert:
    """The statements that insert rows of one shape into one table, for each power of two of rows.

    With `unique`, an existing row with the same values in these columns is replaced: every column in
    `replaced` takes the new row's value, or NULL if the new row has none.
    """

    def __init__(
        self,
        table: str,
        columns: Sequence[str],
        unique: Sequence[str] = (),
        replaced: Sequence[str] = (),
        bools: Sequence[str] = (),
    ) -> None:
        names = ", ".join(map(quote, columns))
        self._head = f"INSERT INTO {quote(table)} ({names}) VALUES "  # noqa: S608 - names are quoted
        self._row = f"({','.join('?' * len(columns))})"
        self._tail = ""
        if unique:
            keys = ", ".join(map(quote, unique))
            # If every column is part of the key, one is set to itself, so that the row counts as replaced.
            columns_set = [column for column in replaced if column not in unique] or unique[:1]
            changes = ", ".join(f"{quote(column)} = excluded.{quote(column)}" for column in columns_set)
            self._tail = f" ON CONFLICT ({keys}) DO UPDATE SET {changes}"
        self._width = len(columns)
        self._bools = [place for place, column in enumerate(columns) if column in bools]
        self.most_rows = min(MOST_ROWS, 1 << ((MOST_PARAMS // len(columns)).bit_length() - 1))
        self._texts: dict[int, str] = {}

    def sizes(self, count: int) -> Iterator[int]:
        """The sizes of the statements that insert `count` rows, the largest first."""
        for _ in range(count // self.most_rows):
            yield self.most_rows
        rest = count % self.most_rows
        for bit in reversed(range(rest.bit_length())):
            if rest >> bit & 1:
                yield 1 << bit

    def statements(self, values: Iterable[Any], count: int) -> Iterator[tuple[str, list[Any]]]:
        """Statements that insert `count` rows in their order, each with its parameters."""
        rest = iter(values)
        for size in self.sizes(count):
            yield self.sql(size), self.params(islice(rest, size * self._width))

    def params(self, values_of_rows: Iterable[Any]) -> list[Any]:
        """The values to bind, row after row, with bools as ints.

        Binding a bool costs 0.4 µs, because `sqlite3` looks for an adapter each time. An int costs 0.03 µs.
        """
        values = list(values_of_rows)
        for place in self._bools:
            values[place :: self._width] = map(_INTEGERS.__getitem__, values[place :: self._width])
        return values

    def sql(self, rows: int) -> str:
        """The statement for `rows` rows."""
        text = self._texts.get(rows)
        if text is None:
            text = self._texts[rows] = self._head + ",".join([self._row] * rows) + self._tail
        return text


class RowGatherer:
    """Gathers the rows of several batches until a statement is full, and inserts them in order.

    It uses the open transaction. An error is raised at the commit at the latest; the transaction must be
    rolled back then. A row of seven columns costs 1.0 to 1.2 µs on the connection's thread and 0.1 µs here.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statement: Insert | None = None
        self._rows: list[Row] = []

    async def put(self, statement: Insert, rows: list[Row]) -> None:
        """Add rows. Statements of the largest size are sent as soon as they are full."""
        if statement is not self._statement:
            await self.flush()
            self._statement = statement
        self._rows += rows
        whole = len(self._rows) // statement.most_rows * statement.most_rows
        if whole:
            await self._send(statement, self._rows[:whole])
            del self._rows[:whole]

    async def flush(self) -> None:
        """Send the remaining rows."""
        if self._statement is not None and self._rows:
            rows, self._rows = self._rows, []
            await self._send(self._statement, rows)

    async def _send(self, statement: Insert, rows: Sequence[Row]) -> None:
        for sql, params in statement.statements(chain.from_iterable(rows), len(rows)):
            self._database.submit(sql, params)
            await self._database.settle(most_pending=_MOST_UNDER_WAY)
            await asyncio.sleep(0)  # the statement is queued for the thread in the loop's next turn


async def insert_valid_rows(database: Database, statement: Insert, rows: Sequence[Row]) -> list[BadRow]:
    """Insert all rows that SQLite accepts, and return the others.

    A statement that fails is rolled back, and its halves are tried. One bad row among 1,024 costs about
    twenty small statements. Raises `SinkError` if the rows are not the cause.
    """
    bad: list[BadRow] = []
    waiting: list[tuple[int, int]] = []
    start = 0
    for size in statement.sizes(len(rows)):
        waiting.append((start, size))
        start += size
    waiting.reverse()
    while waiting:
        start, size = waiting.pop()
        params = statement.params(chain.from_iterable(rows[start : start + size]))
        await database.execute("SAVEPOINT part")
        try:
            await database.execute(statement.sql(size), params)
        except DATA_ERRORS as error:
            # A trigger may have left rows of a failed statement behind (RAISE FAIL), or ended the
            # transaction and with it the savepoint (RAISE ROLLBACK).
            await _roll_back_part(database, error)
            await _refuse_changed_table(database, statement.sql(size), params, error)
            if size == 1:
                bad.append((start, _reason(error), str(error)))
            else:
                half = size // 2
                waiting += [(start + half, half), (start, half)]
        await database.execute("RELEASE part")
    return bad


async def _roll_back_part(database: Database, error: Exception) -> None:
    try:
        await database.execute("ROLLBACK TO part")
    except sqlite3.Error:
        raise SinkError("rolled_back", f"a trigger ended the transaction: {error}") from error


async def _refuse_changed_table(
    database: Database, sql: str, params: Sequence[Any], error: Exception
) -> None:
    """Raise `SinkError` if the statement cannot run with any values: the table was changed meanwhile."""
    if primary_code(error) != sqlite3.SQLITE_ERROR:
        return
    try:
        await database.execute(f"EXPLAIN {sql}", params)
    except sqlite3.Error as fault:
        raise SinkError("schema", f"the table does not take these rows any more: {fault}") from fault


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "row:surrogate"
    if isinstance(error, OverflowError):
        return "row:range"
    if getattr(error, "sqlite_errorcode", None) == SQLITE_CONSTRAINT_DATATYPE:
        return "row:type"
    return _REASONS.get(primary_code(error), "sqlite:error")
