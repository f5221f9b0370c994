"""Finds the errors that opening a database for writing would raise, without changing a file.

The write-ahead log and its index are not changed either: a database that no process has open is read as an
immutable file, and the index of an open one is opened read-only. Statements are tried on a copy of the schema
in memory.
"""

import sqlite3
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote as quoted_path

from streamd.core.errors import EnvironmentFault, Taken
from streamd.sqlite import files
from streamd.sqlite.faults import environment_fault
from streamd.sqlite.table import Table, quote

MOST_ROWS_COMPARED = 1_000_000
"""Newest rows that are searched for equal keys, in about a second. Sorting all rows of a large table could
take minutes, and space on the disk."""

_BUSY = "database is locked (SQLITE_BUSY)"
_LOCKS_OF_THE_FILE = range(0x40000000, 0x40000200)
"""Bytes of a database file that SQLite locks for writing; in WAL mode only for exclusive access."""
_WRITE_LOCK_OF_THE_INDEX = 120
"""The byte of `-shm` that a writer locks."""
_TIMEOUT_S = 1.0


@contextmanager
def rehearsed(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write; if the file is missing, to an empty database in memory.

    Raises `EnvironmentFault` if the daemon could not open the database or would set it aside as corrupt, and
    `Taken` if another process has it open exclusively.
    """
    files.refuse_unusable(path)
    uri = _uri(path)
    fault = files.fault_of(path, uri)
    if fault is not None:
        raise EnvironmentFault(f"{path} is no sound database ({fault}); a start would set it aside")
    if any(lock in _LOCKS_OF_THE_FILE for lock in _write_locks(path)):
        raise Taken(f"cannot open the database {path}: locked: {_BUSY}", "database", str(path))
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=_TIMEOUT_S, isolation_level=None)
        with closing(connection):
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            yield connection
    except sqlite3.Error as error:
        raise EnvironmentFault(
            f"cannot open the database {path}: {environment_fault(error) or error}"
        ) from None


def try_statements(
    connection: sqlite3.Connection, statements: Iterable[str], path: Path, refusal: str
) -> None:
    """Run the statements on a copy of the schema.

    Raises `EnvironmentFault`, with a text that begins with `refusal`, if one fails. Raises `Taken` if another
    process holds the write lock of the database.
    """
    try:
        with closing(_schema_of(connection)) as copy:
            for statement in statements:
                copy.execute(statement)
    except sqlite3.Error as error:
        raise EnvironmentFault(f"{refusal}: {environment_fault(error) or error}") from None
    if is_being_written(path):
        raise Taken(f"{refusal}: locked: {_BUSY}", "database", str(path))


def rehearse_table(path: Path, table: Table) -> list[str]:
    """The statements that would create or extend the table. Raises `EnvironmentFault` or `ConfigError`."""
    with rehearsed(path) as connection:
        statements: list[str] = _at_once(table.changes(_ReadOnly(connection)))
        if any(statement.startswith("CREATE UNIQUE") for statement in statements):
            _find_equal_rows(connection, table)
        if statements:
            refusal = f"cannot prepare the table {table.name!r} in {path}"
            try_statements(connection, statements, path, refusal)
        has_file = path.exists() and path.stat().st_size > 0
    return statements if has_file else []


def is_being_written(path: Path) -> bool:
    """Whether a process has a write transaction open, according to the kernel's list of locks."""
    return _WRITE_LOCK_OF_THE_INDEX in _write_locks(Path(f"{path}-shm"))


def _uri(path: Path) -> str:
    """The URI that opens the database without making companion files."""
    if not path.exists() or path.stat().st_size == 0:
        return "file::memory:"
    is_open = all(Path(f"{path}{suffix}").exists() for suffix in ("-wal", "-shm"))
    return f"file:{quoted_path(str(path))}?" + ("mode=ro&readonly_shm=1" if is_open else "immutable=1")


def _write_locks(path: Path) -> list[int]:
    """The first byte of each range of the file that is locked for writing; empty if unknown."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        inode = path.stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.replace("-> ", "").split()
            if words[3] == "WRITE" and words[5].endswith(f":{inode}"):
                found.append(int(words[6]))
    return found


def _schema_of(connection: sqlite3.Connection) -> sqlite3.Connection:
    """A database in memory with the same tables, indexes and views, and no rows."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    known = "SELECT sql FROM sqlite_schema WHERE sql LIKE 'CREATE%' AND name NOT LIKE 'sqlite@_%' ESCAPE '@'"
    for (sql,) in connection.execute(f"{known} ORDER BY rowid"):
        with suppress(sqlite3.Error):  # another program may have used functions that are missing here
            copy.execute(sql)
    return copy


class _ReadOnly:
    """Implements `Fetches` for a plain connection. It never waits."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, params).fetchall()


def _at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits, with or without a running loop."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it waits")


def _find_equal_rows(connection: sqlite3.Connection, table: Table) -> None:
    """Raise `ConfigError` if existing rows have equal keys, which the new unique index would refuse."""
    there = {name.lower() for _, name, *_ in connection.execute(f"PRAGMA table_info({quote(table.name)})")}
    if not there.issuperset(column.lower() for column in table.unique):
        return  # no table, or a new column with NULL in every row, and NULLs are not equal
    keys = [quote(column) for column in table.unique]
    columns, filled = ", ".join(keys), " AND ".join(f"{key} IS NOT NULL" for key in keys)
    newest = f"SELECT * FROM {quote(table.name)} ORDER BY {table.row_number} DESC LIMIT {MOST_ROWS_COMPARED}"  # noqa: S608 - names are quoted
    sql = f"SELECT 1 FROM ({newest}) WHERE {filled} GROUP BY {columns} HAVING count(*) > 1 LIMIT 1"  # noqa: S608 - the same
    if connection.execute(sql).fetchone():
        raise table.equal_rows()
