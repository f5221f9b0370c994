"""What opening a database to write to it would meet: the same refusals, and nothing is changed.

Not even the write-ahead log or its index: a database that nobody has open is read as an immutable file, and
of one that is open the index is not written. Statements are tried on a copy of the schema in memory.
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

LOOKED_AT_ROWS = 1_000_000
"""About a second; to sort all rows of a large table could take minutes, and room on the disk."""

_BUSY = "database is locked (SQLITE_BUSY)"
_LOCKS_OF_THE_FILE = range(0x40000000, 0x40000200)
"""Bytes that SQLite locks in a database, in a WAL database only while somebody has it exclusively."""
_WRITE_LOCK_OF_THE_INDEX = 120
"""The byte of `-shm` that a writer locks."""
_TIMEOUT_S = 1.0


@contextmanager
def rehearsed(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write; without a file an empty database in memory.

    Raises `EnvironmentFault` where the daemon could not open the database, and `Taken` where somebody has it
    for himself. A file that the daemon would set aside as corrupt is refused too.
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
    """Raises `EnvironmentFault` that begins with `refusal` where the schema does not take the statements.

    Raises `Taken` where another writer holds the database.
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
    """The statements that would bring the table up to date. Raises `EnvironmentFault` or `ConfigError`."""
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
    """Whether a program has begun a transaction that writes, as the kernel's list of locks tells."""
    return _WRITE_LOCK_OF_THE_INDEX in _write_locks(Path(f"{path}-shm"))


def _uri(path: Path) -> str:
    """How to open it so that nothing is made beside it."""
    if not path.exists() or path.stat().st_size == 0:
        return "file::memory:"
    is_open = all(Path(f"{path}{suffix}").exists() for suffix in ("-wal", "-shm"))
    return f"file:{quoted_path(str(path))}?" + ("mode=ro&readonly_shm=1" if is_open else "immutable=1")


def _write_locks(path: Path) -> list[int]:
    """The first byte of each range that a process has locked to write; none where that cannot be known."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        inode = path.stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.replace("-> ", "").split()
            if words[3] == "WRITE" and words[5].endswith(f":{inode}"):
                found.append(int(words[6]))
    return found


def _schema_of(connection: sqlite3.Connection) -> sqlite3.Connection:
    """A database in memory with the tables, indexes and views, and no rows."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    known = "SELECT sql FROM sqlite_schema WHERE sql LIKE 'CREATE%' AND name NOT LIKE 'sqlite@_%' ESCAPE '@'"
    for (sql,) in connection.execute(f"{known} ORDER BY rowid"):
        with suppress(sqlite3.Error):  # of another program's making, with functions that are not here
            copy.execute(sql)
    return copy


class _ReadOnly:
    """What `Table` asks of a database, answered at once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, params).fetchall()


def _at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits, whether a loop runs here or not."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it waits")


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
