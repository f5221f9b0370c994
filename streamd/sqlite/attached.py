"""Several databases read as one: each a schema of one connection, and dated files as one table."""

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
    not_for_this_user,
    open_read_only,
    read_only_uri,
)
from streamd.sqlite.table import quote

_NO_DATABASE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Attached(NamedTuple):
    """A read-only connection, and the dated files it does not read.

    `older` (newest first) found no room, `foreign` are no databases: each with the reason.
    """

    connection: sqlite3.Connection
    older: list[Path]
    foreign: dict[Path, str]


def open_schemas(schemas: Mapping[str, Path]) -> Attached:
    """Attach the files of each schema.

    `schemas` has `main` first. Of a dated path the newest file is the schema itself, and every file is a
    schema by its own name (`"logs-2026-01-31"`); a table that is in several of them is then one temporary
    view over all, under its own name. SQLite attaches ten files at most, so the oldest are left out.
    Files that are not there, and dated ones that are no databases, are passed over. Raises
    `EnvironmentFault` where `main` has none, and `QueryRefused` where not even the newest of each schema
    can be read at once.
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
    """The dated files, each with the schema whose tables it adds to: the newest, under that schema already,
    first and with none; then the others, the newest of them first.
    """
    newest = [("", files[-1]) for name, files in there.items() if files and files != [schemas[name]]]
    return newest + [(name, path) for name, files in there.items() for path in reversed(files[:-1])]


def existing(path: Path) -> list[Path]:
    """The files of a path that may be dated, oldest first. A file of just this name comes first.

    Raises `EnvironmentFault` where this user may not look.
    """
    try:
        return [path] if is_there(path) else files_of(path)
    except PermissionError:
        raise not_for_this_user(path) from None


def _free_name(stem: str, taken: set[str]) -> str:
    """A name for a schema that none has, and which is taken from now on."""
    name, count = stem, 1
    while name.lower() in taken:
        count += 1
        name = f"{stem}_{count}"
    taken.add(name.lower())
    return name


def _databases(path: Path, no_databases: dict[Path, str]) -> list[Path]:
    """The files of a path, oldest first. Of a dated one without those that go into `no_databases`.

    Each is known by its first bytes, the newest by its schema: it is the one that is always read.
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
    """Why the schema of the file cannot be read, where that is because it is no database."""
    try:
        with closing(open_read_only(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error) if primary_code(error) in _NO_DATABASE else None
    except EnvironmentFault:  # it has gone meanwhile: whoever opens it says so
        return None
    return None


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
