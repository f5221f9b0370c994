"""Several databases read as one: each a schema of one connection, and dated files as one table."""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from streamd.storage.dated import files_of
from streamd.storage.read_only import QueryRefused, explained, open_read_only, read_only_uri
from streamd.storage.table import quote


def open_schemas(schemas: Mapping[str, Path]) -> tuple[sqlite3.Connection, list[Path]]:
    """A read-only connection to the files of each schema, and the older files that found no room.

    `schemas` has `main` first. Of a dated path the newest file is the schema itself and the others are
    schemas by their own names (`"logs-2026-01-31"`); a table that is in several of them is then one
    temporary view over all, under its own name. SQLite attaches ten files at most, so the oldest are left
    out. Files that are not there are passed over. Raises `EnvironmentFault` where `main` has none, and
    `QueryRefused` where not even the newest of each schema can be read at once.
    """
    there = {name: existing(path) for name, path in schemas.items()}
    connection = open_read_only(there["main"][-1] if there["main"] else schemas["main"])
    newest = [(name, files[-1]) for name, files in there.items() if files and name != "main"]
    older = [(name, path) for name, files in there.items() for path in reversed(files[:-1])]
    room = connection.getlimit(sqlite3.SQLITE_LIMIT_ATTACHED) - len(newest)
    if room < 0:
        connection.close()
        raise QueryRefused(f"SQLite reads at most {len(newest) + room + 1} files at once: name one with --db")
    taken = {name.lower() for name in there} | {"temp"}
    members: defaultdict[str, list[str]] = defaultdict(list)
    try:
        for name, path in newest:
            _attach(connection, path, name)
        for name, path in older[:room]:
            schema, count = path.stem, 1
            while schema.lower() in taken:
                count += 1
                schema = f"{path.stem}_{count}"
            taken.add(schema.lower())
            if _attach(connection, path, schema):
                members[name].append(schema)
        seen: set[str] = set()
        for name in ["main", *(name for name, _ in newest)]:
            _unite(connection, [*reversed(members[name]), name], seen)
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        connection.close()
        raise explained(error) from None
    return connection, [path for _, path in older[room:]]


def existing(path: Path) -> list[Path]:
    """The files of a path that may be dated, oldest first. A file of just this name comes first."""
    return [path] if path.exists() else files_of(path)


def _attach(connection: sqlite3.Connection, path: Path, schema: str) -> bool:
    """False where the file has gone since it was looked for: retention removes old ones at any time."""
    try:
        connection.execute(f"ATTACH ? AS {quote(schema)}", (read_only_uri(path),))
    except sqlite3.OperationalError:
        if path.exists():
            raise
        return False
    return True


def _unite(connection: sqlite3.Connection, schemas: Sequence[str], seen: set[str]) -> None:
    """A temporary view over each table that several of these have, oldest first, with the columns of all.

    Tables in `seen` keep their place: SQL means the schema that comes first by a bare name.
    """
    places: defaultdict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    names: dict[str, str] = {}
    for schema in schemas:
        tables = connection.execute(
            f"SELECT name FROM {quote(schema)}.sqlite_schema"  # noqa: S608 - quoted
            " WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        ).fetchall()
        for (table,) in tables:
            names[table.lower()] = table
            columns = connection.execute("SELECT name FROM pragma_table_info(?, ?)", (table, schema))
            places[table.lower()][schema] = {column.lower(): column for (column,) in columns}
    for table in places.keys() - seen if len(schemas) > 1 else ():
        every = {key: column for columns in places[table].values() for key, column in columns.items()}
        selects = [
            "SELECT "  # noqa: S608 - every name is quoted
            + ", ".join(quote(c) if key in columns else f"NULL AS {quote(c)}" for key, c in every.items())
            + f" FROM {quote(schema)}.{quote(names[table])}"
            for schema, columns in places[table].items()
        ]
        connection.execute(f"CREATE TEMP VIEW {quote(names[table])} AS {' UNION ALL '.join(selects)}")
    seen |= places.keys()
