"""Reads several databases through one connection, with the tables of dated files united in views."""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from streamd.core.errors import EnvironmentFault
from streamd.files.dated import files_of
from streamd.sqlite.faults import primary_code
from streamd.sqlite.files import foreign
from streamd.sqlite.read_only import (
    QueryRefused,
    explained,
    is_there,
    not_readable,
    open_read_only,
    read_only_uri,
)
from streamd.sqlite.table import quote

_NO_DATABASE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Attached(NamedTuple):
    """A read-only connection, and the dated files that it does not read.

    `older` holds the files (newest first) beyond SQLite's limit of attached databases. `foreign` holds the
    files that are no databases, each with the reason.
    """

    connection: sqlite3.Connection
    older: list[Path]
    foreign: dict[Path, str]


def open_schemas(schemas: Mapping[str, Path], *, in_memory: bool = False) -> Attached:
    """Open a connection with the files of each schema attached. `schemas` has `main` first.

    Of a dated path, the newest file is the schema itself, and every file is also a schema of its own name
    (`"logs-2026-01-31"`). A table in several of these files becomes a temporary view over all of them. SQLite
    attaches ten files at most, so the oldest are left out. Missing files, and dated files that are no
    databases, are left out too. With `in_memory`, sorting and the like write no temporary files. Raises
    `EnvironmentFault` if `main` has no database, and `QueryRefused` if there are more schemas than SQLite
    attaches.
    """
    no_databases: dict[Path, str] = {}
    there = {name: _databases(path, no_databases) for name, path in schemas.items()}
    if no_databases and not there["main"]:
        raise EnvironmentFault("; ".join(f"{path}: {why}" for path, why in no_databases.items()))
    connection = open_read_only(there["main"][-1] if there["main"] else schemas["main"])
    newest = [(name, files[-1]) for name, files in there.items() if files and name != "main"]
    named = _by_own_names(schemas, there)
    room = connection.getlimit(sqlite3.SQLITE_LIMIT_ATTACHED) - len(newest)
    if room < 0:
        connection.close()
        raise QueryRefused(f"SQLite reads at most {len(newest) + room + 1} files at once: name one with --db")
    taken = {name.lower() for name in there} | {"temp"}
    members: defaultdict[str, list[str]] = defaultdict(list)
    try:
        place = "MEMORY" if in_memory else "DEFAULT"
        connection.execute(f"PRAGMA temp_store = {place}")  # before the views, which it would drop
        for name, path in newest:
            _attach(connection, path, name)
        for name, path in named[:room]:
            schema = _free_name(path.stem, taken)
            try:
                if _attach(connection, path, schema):
                    members[name].append(schema)
            except sqlite3.DatabaseError as error:
                if primary_code(error) not in _NO_DATABASE:
                    raise
                no_databases[path] = str(error)
        seen: set[str] = set()
        for name in ["main", *(name for name, _ in newest)]:
            _unite(connection, [*reversed(members[name]), name], seen)
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        connection.close()
        raise explained(error) from None
    return Attached(connection, [path for name, path in named[room:] if name], no_databases)


def _by_own_names(schemas: Mapping[str, Path], there: Mapping[str, list[Path]]) -> list[tuple[str, Path]]:
    """The dated files to attach by their own names, each with the schema whose tables it adds to.

    The newest file of each schema comes first, with "": it is attached as the schema already. The others
    follow, newest first.
    """
    newest = [("", files[-1]) for name, files in there.items() if files and files != [schemas[name]]]
    return newest + [(name, path) for name, files in there.items() for path in reversed(files[:-1])]


def existing(path: Path) -> list[Path]:
    """The existing files of a path, which may be dated, oldest first.

    If a file has exactly this name, only that file. Raises `EnvironmentFault` without permission to read.
    """
    try:
        return [path] if is_there(path) else files_of(path)
    except PermissionError:
        raise not_readable(path) from None


def _free_name(stem: str, taken: set[str]) -> str:
    """An unused name for a schema, which is added to `taken`."""
    name, count = stem, 1
    while name.lower() in taken:
        count += 1
        name = f"{stem}_{count}"
    taken.add(name.lower())
    return name


def _databases(path: Path, no_databases: dict[Path, str]) -> list[Path]:
    """The files of a path, oldest first. Dated files that are no databases are put into `no_databases`.

    Files are checked by their first bytes. The schema of the newest one is read too, as it is always used.
    """
    files = existing(path)
    if files == [path]:
        return files
    no_databases |= {file: why for file in files if (why := foreign(file)) is not None}
    files = [file for file in files if file not in no_databases]
    while files and (why := _damage(files[-1])) is not None:
        no_databases[files.pop()] = why
    return files


def _damage(path: Path) -> str | None:
    """Why the file is no database, found by reading its schema; None if it is one."""
    try:
        with closing(open_read_only(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error) if primary_code(error) in _NO_DATABASE else None
    except EnvironmentFault:  # removed meanwhile; opening it raises the error
        return None
    return None


def _attach(connection: sqlite3.Connection, path: Path, schema: str) -> bool:
    """Attach the file. False if it was removed meanwhile: retention may remove old files at any time."""
    try:
        connection.execute(f"ATTACH ? AS {quote(schema)}", (read_only_uri(path),))
    except sqlite3.OperationalError:
        if path.exists():
            raise
        return False
    return True


def _unite(connection: sqlite3.Connection, schemas: Sequence[str], seen: set[str]) -> None:
    """Create a temporary view over each table of these schemas (oldest first), with the columns of all.

    Tables in `seen` get no view: in SQL, a bare name means the table in the first schema that has it.
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
