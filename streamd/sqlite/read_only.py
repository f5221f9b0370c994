"""Opens a database read-only, also while another process writes it."""

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from streamd.core.errors import EnvironmentFault, StreamdError
from streamd.core.printable import printable

BUSY_TIMEOUT_S = 5.0
"""How long a reader waits for a lock. In WAL mode a writer takes no lock that a reader needs."""

_STEPS = 1000
"""Steps of SQLite's virtual machine between two checks for Ctrl-C: 20 µs if the steps are simple, which the
check hardly prolongs. A step that calls a function takes as long as the function."""
_STEPS_OF_A_THREAD = 50_000
"""The same where the thread first has to wait until a busy loop lets it run, for up to 5 ms."""

_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
_READING_PRAGMAS = frozenset({
    "database_list", "freelist_count", "index_info", "index_list", "index_xinfo", "integrity_check",
    "page_count", "quick_check", "table_info", "table_list", "table_xinfo",
})  # fmt: skip
_DECLARING = frozenset({sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_CREATE_TABLE})
_OWN_TABLES = frozenset({"sqlite_master", "sqlite_schema", "x"})
"""Tables that SQLite asks to write when it declares a table-valued function (`json_each`), internally a
table `x`. A user's statement that asks for the same still fails, as the database is opened read-only."""
_REFUSED_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer"})
_OF_THE_STATEMENT = frozenset({
    sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_RANGE,
    sqlite3.SQLITE_TOOBIG,
})  # fmt: skip
"""Results that another statement would not have."""
_REFUSED = {
    sqlite3.SQLITE_ATTACH: "ATTACH",
    sqlite3.SQLITE_DETACH: "DETACH",
    sqlite3.SQLITE_INSERT: "INSERT",
    sqlite3.SQLITE_UPDATE: "UPDATE",
    sqlite3.SQLITE_DELETE: "DELETE",
    sqlite3.SQLITE_PRAGMA: "this PRAGMA",
    sqlite3.SQLITE_FUNCTION: "this function",
    sqlite3.SQLITE_TRANSACTION: "a transaction",
    sqlite3.SQLITE_SAVEPOINT: "SAVEPOINT",
}


class QueryRefused(StreamdError):  # noqa: N818 - a refusal, not an error of the program
    """The SQL statement is invalid, or would do more than read."""

    exit_code = 2


def is_there(path: Path) -> bool:
    """Whether the file exists. Raises `EnvironmentFault` without the permission to read it."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        raise not_readable(path) from None
    if not os.access(path, os.R_OK):
        raise not_readable(path)
    return True


def refuse_irregular(path: Path) -> None:
    """Refuse a folder, and a pipe, which SQLite would wait for. Raises `EnvironmentFault`."""
    if not path.is_file():
        raise EnvironmentFault(f"{path.absolute()} is not a regular file: name the file of a database")


def not_readable(path: Path) -> EnvironmentFault:
    """The error for missing permissions of a file or of a folder above it."""
    return EnvironmentFault(f"{path.absolute()} is not for this user: join its group, or become its user")


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises `EnvironmentFault` if the file is missing or unreadable."""
    if not is_there(path):
        raise EnvironmentFault(f"there is no {path.absolute()} yet: the daemon makes it when it first starts")
    refuse_irregular(path)
    try:
        connection = sqlite3.connect(
            read_only_uri(path), uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
        )
    except sqlite3.Error as error:
        raise EnvironmentFault(f"{path}: {error}") from None
    connection.text_factory = lambda text: text.decode(errors="backslashreplace")
    return connection


def read_only_uri(path: Path) -> str:
    """A read-only URI, with `immutable` if the folder is not writable and no process has the file open.

    Without it a reader of a WAL database would have to make the shared-memory file, which would fail.
    """
    at_rest = not os.access(path.absolute().parent, os.W_OK) and not Path(f"{path}-wal").exists()
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if at_rest else ''}"


@contextmanager
def only_reading(
    connection: sqlite3.Connection, file: Path | None = None, stop: Callable[[], str | None] | None = None
) -> Iterator[None]:
    """Inside, statements can only read, and Ctrl-C stops them.

    SQLite's errors become `QueryRefused`, `EnvironmentFault` or `KeyboardInterrupt`. Their texts begin with
    `file` if it is given, for statements that the user has not written. `stop` is called about every
    millisecond of a statement, if its steps are simple; the statement ends when it returns a reason, which
    `QueryRefused` then has. So neither ends a statement within a step, as a function of a long text.
    """
    refused: list[str] = []
    stopped: list[str] = []

    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        allowed = (
            action in _READING
            or (action in _DECLARING and first in _OWN_TABLES)
            or (action == sqlite3.SQLITE_PRAGMA and first in _READING_PRAGMAS)
            or (action == sqlite3.SQLITE_FUNCTION and second not in _REFUSED_FUNCTIONS)
        )
        if not allowed:
            refused.append(_REFUSED.get(action, "this statement"))
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    connection.set_authorizer(authorize)

    def progress() -> bool:
        reason = None if stop is None else stop()
        if reason is not None:
            stopped.append(reason)
        return reason is not None

    connection.set_progress_handler(progress, _STEPS if stop is None else _STEPS_OF_A_THREAD)
    try:
        yield
    except MemoryError:
        raise QueryRefused("there is not enough memory for this statement: narrow it") from None
    except (sqlite3.Error, sqlite3.Warning) as error:
        if stopped:
            raise QueryRefused(stopped[0]) from None
        if refused:
            raise QueryRefused(f"only reading is possible here: {refused[0]} is refused") from None
        raise explained(error, file) from None


def explained(error: BaseException, file: Path | None = None) -> BaseException:
    """The exception to raise for an SQLite error; its cause decides the exit code."""
    text = printable(str(error) if file is None else f"{file}: {error}", sys.maxsize)
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the primary result code
    if code == sqlite3.SQLITE_INTERRUPT:
        return KeyboardInterrupt()
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return EnvironmentFault(f"the database is locked by another program: {text}")
    if code in _OF_THE_STATEMENT:
        return QueryRefused(text)
    return EnvironmentFault(text)
