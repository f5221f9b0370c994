"""A table as configured, and the statements that create or extend the table in the file."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from streamd.core.errors import ConfigError
from streamd.sqlite.fetches import Fetches
from streamd.sqlite.named_view import NamedView
from streamd.sqlite.quote import quote as quote  # noqa: PLC0414 - modules import it from here

if TYPE_CHECKING:  # it imports the log, which takes longer than a short command
    from streamd.sqlite.database import Database

CATCH_ALL_SQL = "(id INTEGER PRIMARY KEY, received_at TEXT, source TEXT, peer TEXT, record TEXT /* JSON */)"
CATCH_ALL_COLUMNS = {"received_at": "TEXT", "source": "TEXT", "peer": "TEXT", "record": "TEXT"}
MOST_COLUMNS = 1000
"""Most columns of a table. SQLite allows 2,000, but rows are slow long before that."""
ROW_NUMBER = ("rowid", "_rowid_", "oid")
"""SQLite's names for a row's number, each unless a column has that name."""


def name_fault(name: str) -> str | None:
    """Why `name` cannot name a table or column; None if it can."""
    if not name or len(name) > 255:  # noqa: PLR2004
        return "a name has 1 to 255 characters"
    if not name.isprintable():
        return "a name has no control characters"
    return None


def column_fault(name: str) -> str | None:
    """Why a field cannot become a column of that name; None if it can."""
    if name.lower() in ROW_NUMBER:
        return "it would hide the number of a row"
    return name_fault(name)


@dataclass(slots=True)
class _Found:
    """The table or view in the file that has the table's name."""

    kind: str
    without_rowid: bool
    strict: bool
    types: dict[str, str] = field(default_factory=dict)
    must_be_filled: list[str] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    generated: list[str] = field(default_factory=list)


class Table:
    """One table of a SQLite file: STRICT and typed, or the catch-all of JSON records.

    `columns` maps each column, in order, to its SQL type. Columns with `names` for their values get a view
    beside the table. Names are always quoted, and compared without
    regard to case, as SQLite does. Raises `ConfigError` if SQLite cannot have such a table.
    """

    def __init__(
        self,
        name: str,
        columns: Mapping[str, str],
        *,
        unique: Sequence[str] = (),
        indexes: Sequence[Sequence[str]] = (),
        catch_all: bool = False,
        names: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self.columns = dict(columns)
        self.unique = tuple(unique)
        self.indexes = [tuple(index) for index in indexes]
        self.catch_all = catch_all
        self.view = NamedView(name, list(self.columns), names) if names else None
        self._check_names()
        self._check_indexes()
        self.row_number = self._row_number()
        """The SQL name of a row's number. A column may hide the usual name."""
        self.top_sql = f"SELECT max({self.row_number}) FROM {quote(self.name)}"  # noqa: S608 - it is quoted
        """The query for the highest row number: inserted rows get higher ones, replaced rows keep theirs."""

    def _check_names(self) -> None:
        if fault := name_fault(self.name):
            raise ConfigError(f"{self.name!r} cannot be a table: {fault}")
        if self.name.lower().startswith("sqlite_"):
            raise ConfigError(f"{self.name!r} cannot be a table: SQLite keeps names that begin with sqlite_")
        if len(self.columns) > MOST_COLUMNS:
            raise ConfigError(f"{self.name!r} has {len(self.columns)} columns, {MOST_COLUMNS} are allowed")
        seen: dict[str, str] = {}
        for column in self.columns:
            if fault := name_fault(column):
                raise ConfigError(f"{column!r} cannot be a column: {fault}")
            other = seen.setdefault(column.lower(), column)
            if other != column:
                raise ConfigError(f"in SQL {other!r} and {column!r} are the same column: case does not count")

    def _check_indexes(self) -> None:
        for index in (self.unique, *self.indexes):
            for column in index:
                if column not in self.columns:
                    raise ConfigError(f"the table {self.name!r} has no column {column!r} to index")
            if len(set(index)) != len(index):
                raise ConfigError(f"an index of {self.name!r} names a column twice: {', '.join(index)}")
        if not all(self.indexes):
            raise ConfigError(f"an index of {self.name!r} names no column")

    def _row_number(self) -> str:
        names = {column.lower() for column in self.columns}
        free = [name for name in ROW_NUMBER if name not in names]
        if not free:
            raise ConfigError(
                f"the columns of {self.name!r} hide its row number: rename one of {', '.join(ROW_NUMBER)}"
            )
        return free[0]

    def create_sql(self) -> str:
        """The statement that creates the table."""
        if self.catch_all:
            return f"CREATE TABLE {quote(self.name)} {CATCH_ALL_SQL}"
        columns = ", ".join(
            f"{quote(column)} {kind}{' NOT NULL' if column in self.unique else ''}"
            for column, kind in self.columns.items()
        )
        return f"CREATE TABLE {quote(self.name)} ({columns}) STRICT"

    def add_column_sql(self, column: str, kind: str) -> str:
        """The statement that adds a column."""
        return f"ALTER TABLE {quote(self.name)} ADD COLUMN {quote(column)} {kind}"

    async def existing_columns(self, database: "Database") -> dict[str, str]:
        """The columns in the file, with their types in upper case; "" for a computed column."""
        sql = "SELECT name, iif(hidden, '', upper(type)) FROM pragma_table_xinfo(?)"
        return dict(await database.fetch(sql, (self.name,)))

    async def ensure(self, database: "Database") -> dict[str, str]:
        """Create the table and its indexes, or extend an existing table.

        Missing columns and indexes are added. Takes no lock if none is missing. Raises `ConfigError`, with a
        statement to run, if the configuration would need a change of stored rows. Returns the columns that
        can be written, with their types.
        """
        statements = await self.changes(database)
        if statements:
            try:
                async with database.transaction():
                    for statement in statements:
                        await database.execute(statement)
            except sqlite3.IntegrityError as error:
                raise self.equal_rows() from error
        there = await self._find(database)
        return (
            {} if there is None else {c: kind for c, kind in there.types.items() if c not in there.generated}
        )

    def equal_rows(self) -> ConfigError:
        """The error for rows that are equal in `unique`, with a statement that shows them."""
        keys = ", ".join(map(quote, self.unique))
        find = f"SELECT {keys}, count(*) FROM {quote(self.name)}"  # noqa: S608 - names are quoted
        return ConfigError(
            f"the table {self.name!r} has rows that are equal in unique = {list(self.unique)}; see"
            f" {find} GROUP BY {keys} HAVING count(*) > 1;"
        )

    async def changes(self, database: Fetches) -> list[str]:
        """The statements that `ensure` would run. Only reads. Raises `ConfigError` as `ensure` does."""
        found = await self._find(database)
        statements = [self.create_sql()] if found is None else self._changes(found)
        statements += await self._index_statements(database)
        return statements + (await self.view.changes(database) if self.view else [])

    async def _find(self, database: Fetches) -> _Found | None:
        tables = await database.fetch(
            "SELECT type, wr, strict FROM pragma_table_list"
            " WHERE schema = 'main' AND name = ? COLLATE NOCASE",
            (self.name,),
        )
        if not tables:
            return None
        kind, without_rowid, strict = tables[0]
        found = _Found(kind, bool(without_rowid), bool(strict))
        for column, sql_type, not_null, default, key, hidden in await database.fetch(
            'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)', (self.name,)
        ):
            found.types[column] = sql_type.upper()
            if key:
                found.key.append(column)
            if hidden:
                found.generated.append(column)
            elif not_null and default is None:
                found.must_be_filled.append(column)
        return found

    def _changes(self, found: _Found) -> list[str]:
        """The statements that add missing columns. Raises `ConfigError`."""
        table = quote(self.name)
        away = (
            f"name another table, or move it away: ALTER TABLE {table} RENAME TO {quote(self.name + '_old')};"
        )
        if found.kind != "table":
            raise ConfigError(f"{self.name!r} is a {found.kind}, not a table: name another table")
        if found.without_rowid:
            raise ConfigError(
                f"the table {self.name!r} is WITHOUT ROWID, which streamd does not make: {away}"
            )
        there = {column.lower(): (column, kind) for column, kind in found.types.items()}
        missing = [column for column in self.columns if column.lower() not in there]
        if self.catch_all and (missing or found.strict):
            raise ConfigError(
                f"the table {self.name!r} exists and is not the table of JSON records that a sink without"
                f" schema and columns writes: give it a schema, {away}"
            )
        if not self.catch_all and (not found.strict or found.key):
            raise ConfigError(
                f"the table {self.name!r} exists and was not made for this schema"
                f" ({'it has a primary key' if found.strict else 'it is not STRICT'}): {away}"
            )
        for column, kind in self.columns.items():
            name, kind_there = there.get(column.lower(), (column, kind))
            if name in found.generated:
                raise ConfigError(
                    f"the column {name!r} of {self.name!r} is computed and cannot be written: {away}"
                )
            if kind_there != kind:
                raise ConfigError(
                    f"the column {name!r} of {self.name!r} holds {kind_there}, the configuration says {kind}."
                    f" To keep the old values beside the new ones, run: ALTER TABLE {table} RENAME COLUMN"
                    f" {quote(name)} TO {quote(f'{name}_{kind_there.lower()}')};"
                )
        ours = {column.lower() for column in self.columns}
        for column in found.must_be_filled:
            if column.lower() not in ours and column not in found.key:
                raise ConfigError(
                    f"the column {column!r} of {self.name!r} is NOT NULL and nothing in the configuration"
                    f" fills it: add it to the schema, {away}"
                )
        return [self.add_column_sql(column, self.columns[column]) for column in missing]

    async def _index_statements(self, database: Fetches) -> list[str]:
        """The statements that create the missing indexes. An equal index under another name counts."""
        have: set[tuple[bool, tuple[str, ...]]] = set()
        for index, unique, partial in await database.fetch(
            'SELECT name, "unique", partial FROM pragma_index_list(?)', (self.name,)
        ):
            parts = await database.fetch(
                "SELECT name, coll FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno", (index,)
            )
            if not partial and all(name and collation == "BINARY" for name, collation in parts):
                have.add((bool(unique), tuple(name.lower() for name, _ in parts)))
        taken = {name.lower() for (name,) in await database.fetch("SELECT name FROM sqlite_schema")}
        taken.add(self.name.lower())
        statements = []
        wanted = [(True, self.unique)] if self.unique else []
        wanted += [(False, index) for index in self.indexes]
        for unique, columns in wanted:
            key = tuple(column.lower() for column in columns)
            if (unique, key) in have or (True, key) in have:
                continue
            have.add((unique, key))
            stem = "_".join((self.name, *columns, "unique" if unique else "index"))
            name, count = stem, 1
            while name.lower() in taken:
                count += 1
                name = f"{stem}_{count}"
            taken.add(name.lower())
            statements.append(
                f"CREATE {'UNIQUE ' if unique else ''}INDEX {quote(name)} ON {quote(self.name)}"
                f" ({', '.join(map(quote, columns))})"
            )
        return statements
