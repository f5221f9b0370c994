"""The temporary table through which rows reach a table with unique columns."""

from typing import Any

import psycopg

from streamd.postgresql.names import quote
from streamd.postgresql.table import ServerTable

Connection = psycopg.Connection[Any]


class Staging:
    """A temporary table of the connection, which each transaction leaves empty.

    COPY cannot replace rows, so rows are copied here and inserted from here. Each run of rows has a number,
    and its rows have theirs, so that of equal rows the last one is stored.
    """

    def __init__(
        self, table: ServerTable, columns: tuple[str, ...], *, updates: bool, partitioned: bool
    ) -> None:
        self.own_columns = [_free_name("streamd_run", columns), _free_name("streamd_row", columns)]
        self.sql_name = "pg_temp.streamd_staging"
        self._table = table
        self._columns = columns
        self._updates = updates
        self._partitioned = partitioned
        self._run = 0

    def make(self, connection: Connection) -> None:
        """Make the temporary table anew. Raises `psycopg.Error`."""
        run, row = map(quote, self.own_columns)
        names = ", ".join(map(quote, self._columns))
        connection.execute(f"DROP TABLE IF EXISTS {self.sql_name}")
        connection.execute(  # names are quoted
            f"CREATE TEMPORARY TABLE streamd_staging ON COMMIT DELETE ROWS AS"  # noqa: S608 - names are quoted
            f" SELECT {names}, 0 AS {run}, 0 AS {row} FROM {self._table.sql_name} WITH NO DATA"
        )

    def next_run(self) -> int:
        """A number for the next run of rows."""
        self._run = (self._run + 1) % (1 << 31)
        return self._run

    def insert(self, connection: Connection, run: int) -> int:
        """Insert the rows of a run; how many rows the table has more. Raises `psycopg.Error`."""
        own_run, own_row = map(quote, self.own_columns)
        names = ", ".join(map(quote, self._columns))
        keys = ", ".join(map(quote, self._table.unique))
        latest = (
            f"(SELECT DISTINCT ON ({keys}) * FROM {self.sql_name} WHERE {own_run} = %s"  # noqa: S608 - names are quoted
            f" ORDER BY {keys}, {own_row} DESC) AS latest"
        )
        conflict = f"ON CONFLICT ({keys})"
        insert = f"INSERT INTO {self._table.sql_name} ({names}) SELECT {names} FROM"
        changed = [column for column in self._columns if column not in self._table.unique]
        if not self._updates:
            # Of equal rows the first one stays, as it would if they came one by one.
            first = latest.replace(f"{own_row} DESC", own_row)
            return connection.execute(f"{insert} {first} {conflict} DO NOTHING", (run,)).rowcount
        if self._partitioned:  # such a table returns no `xmax`
            new = connection.execute(f"{insert} {latest} {conflict} DO NOTHING", (run,)).rowcount
            if changed:
                connection.execute(self._update_sql(latest, changed), (run,))
            return new
        # If every column is part of the key, one is set to itself, so that the row counts as replaced.
        sets = ", ".join(
            f"{quote(column)} = excluded.{quote(column)}" for column in changed or self._table.unique[:1]
        )
        # A row that was inserted and not updated has no `xmax`.
        counted = (
            f"WITH stored AS ({insert} {latest} {conflict} DO UPDATE SET {sets} RETURNING xmax = 0 AS is_new)"  # noqa: S608 - names are quoted
            " SELECT count(*) FILTER (WHERE is_new) FROM stored"
        )
        row = connection.execute(counted, (run,)).fetchone()
        return int(row[0]) if row is not None else 0

    def _update_sql(self, latest: str, changed: list[str]) -> str:
        """The statement that gives each row the values of the latest one with its key."""
        sets = ", ".join(f"{quote(column)} = latest.{quote(column)}" for column in changed)
        same = " AND ".join(f"there.{quote(key)} = latest.{quote(key)}" for key in self._table.unique)
        return f"UPDATE {self._table.sql_name} AS there SET {sets} FROM {latest} WHERE {same}"  # noqa: S608 - names are quoted


def _free_name(name: str, columns: tuple[str, ...]) -> str:
    while name in columns:
        name += "_"
    return name
