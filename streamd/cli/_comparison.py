"""The tables that are there, compared with those the configuration wants. Nothing is changed."""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from streamd.core.contracts import Sink
from streamd.core.errors import StreamdError
from streamd.sinks.sqlite import Sqlite
from streamd.storage.attached import existing
from streamd.storage.read_only import explained, open_read_only
from streamd.storage.table import Table, quote

LOOKED_AT_ROWS = 1_000_000
"""About a second; to sort all rows of a large table could take minutes, and room on the disk."""


class _ReadOnly:
    """What `Table` asks of a database, answered by a connection that cannot write."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, params).fetchall()


def compare(sinks: Mapping[str, Sink]) -> tuple[list[str], list[str]]:
    """What a start would change in tables that are there, and what it would refuse.

    That rows are equal in what shall be unique is looked for in the newest `LOOKED_AT_ROWS`. Of dated files
    the newest is looked at. Files that are not there yet have nothing to compare.
    """
    changes: list[str] = []
    faults: list[str] = []
    for name, sink in sinks.items():
        files = existing(sink.path) if isinstance(sink, Sqlite) else []
        if not isinstance(sink, Sqlite) or not files:
            continue
        try:
            with closing(open_read_only(files[-1])) as connection:
                statements = asyncio.run(sink.wanted.changes(_ReadOnly(connection)))
                if any(statement.startswith("CREATE UNIQUE") for statement in statements):
                    _find_equal_rows(connection, sink.wanted)
        except StreamdError as error:
            faults.append(f"sinks.{name}: {files[-1]}: {error}")
        except sqlite3.Error as error:
            faults.append(f"sinks.{name}: {files[-1]}: {explained(error)}")
        else:
            changes += [f"sinks.{name}: {statement}" for statement in statements]
    return changes, faults


def _find_equal_rows(connection: sqlite3.Connection, table: Table) -> None:
    """Raises `ConfigError` where rows are there that the new unique index would refuse."""
    there = {name.lower() for _, name, *_ in connection.execute(f"PRAGMA table_info({quote(table.name)})")}
    if not there.issuperset(column.lower() for column in table.unique):
        return  # no table, or a column that is NULL in every row: NULLs are not equal
    keys = [quote(column) for column in table.unique]
    columns, filled = ", ".join(keys), " AND ".join(f"{key} IS NOT NULL" for key in keys)
    newest = f"SELECT * FROM {quote(table.name)} ORDER BY {table.row_number} DESC LIMIT {LOOKED_AT_ROWS}"  # noqa: S608 - names are quoted
    sql = f"SELECT 1 FROM ({newest}) WHERE {filled} GROUP BY {columns} HAVING count(*) > 1 LIMIT 1"  # noqa: S608 - the same
    if connection.execute(sql).fetchone():
        raise table.equal_rows()
