"""`streamd query`: the stored data in SQL, read-only, while the daemon writes."""

import argparse
import itertools
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from streamd.cli._table import escape, write_rows
from streamd.core.errors import EnvironmentFault, StreamdError

BUSY_TIMEOUT_S = 5.0
"""How long a reader waits for a lock. In WAL a writer takes none that a reader needs."""

DEAD_LETTERS_FILE = "dead-letters.db"
"""What the dead letters' file is called where no configuration says so."""

_STEPS_BETWEEN_SIGNALS = 50_000
"""SQLite's virtual machine runs this many steps (about a millisecond) before Ctrl-C is looked at."""

_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
_READING_PRAGMAS = frozenset({
    "database_list", "freelist_count", "index_info", "index_list", "index_xinfo", "integrity_check",
    "page_count", "quick_check", "table_info", "table_list", "table_xinfo",
})  # fmt: skip
_REFUSED_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer"})
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


class QueryRefused(StreamdError):  # noqa: N818 - it is a verdict on the question
    """The statement is not one that `query` runs: it is wrong, or it would do more than read."""

    exit_code = 2


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sql", metavar="SQL", help="one SELECT; - reads it from standard input")
    add_file_options(parser, "an SQLite file to ask, without a configuration")
    style = parser.add_mutually_exclusive_group()
    style.add_argument(
        "--json", dest="style", action="store_const", const="json", help="one JSON object a line"
    )
    style.add_argument("--csv", dest="style", action="store_const", const="csv", help="CSV with a header")
    parser.add_argument("--limit", type=positive, metavar="N", help="stop after N rows")
    parser.set_defaults(style="auto")
    parser.epilog = "Dead letters are in schema dead: select reason, count(*) from dead_letters group by 1"


def add_file_options(parser: argparse.ArgumentParser, db_help: str) -> None:
    """`--config` or `--db`: where the files are."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--config", metavar="FILE", help="the configuration that names the files")
    place.add_argument("--db", metavar="FILE", type=Path, help=db_help)


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def main(options: argparse.Namespace) -> int:
    sql = sys.stdin.read() if options.sql == "-" else options.sql
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise QueryRefused("the statement is not valid UTF-8") from None
    schemas = _beside(options.db) if options.db else _configured(options.config)
    with closing(open_schemas(schemas)) as connection, only_reading(connection):
        cursor = connection.execute(sql)
        if cursor.description is None:
            raise QueryRefused("there is no SELECT in it")
        columns = [column[0] for column in cursor.description]
        write_rows(columns, itertools.islice(cursor, options.limit), options.style)
    return 0


def _beside(path: Path) -> dict[str, Path]:
    return {"main": path, "dead": path.parent / DEAD_LETTERS_FILE}


def _configured(config_file: str | None) -> dict[str, Path]:
    """Schema → file: the first SQLite sink's file is `main`, those of others have their sink's name."""
    from streamd import config as configuration  # noqa: PLC0415 - loads every component; not for --db

    loaded = configuration.load(configuration.find(config_file))
    config, state_dir = loaded.config, loaded.state_dir
    places = [
        (name, state_dir / str(getattr(sink, "path")))  # noqa: B009 - a key of this type of sink only
        for name, sink in config.sinks.items()
        if sink.type == "sqlite"
    ]
    schemas: dict[str, Path] = {}
    for name, path in (*places, ("ledger", state_dir / config.ledger.path)):
        if path not in schemas.values():
            reserved = name.lower() in ("main", "temp", "dead")
            schemas["main" if not schemas else f"{name}_" if reserved else name] = path
    return schemas | {"dead": state_dir / config.dead_letters.path}


def open_schemas(schemas: dict[str, Path]) -> sqlite3.Connection:
    """A read-only connection to `main`, with the other files attached where they exist.

    Raises `EnvironmentFault` where `main` does not exist or is no database.
    """
    connection = open_read_only(schemas["main"])
    others = [(name, path) for name, path in schemas.items() if name != "main" and path.exists()]
    most = connection.getlimit(sqlite3.SQLITE_LIMIT_ATTACHED)
    if len(others) > most:
        connection.close()
        raise QueryRefused(f"SQLite reads at most {most + 1} files at once: name one of them with --db")
    try:
        for name, path in others:
            quoted = name.replace('"', '""')
            connection.execute(f'ATTACH ? AS "{quoted}"', (_uri(path),))
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        connection.close()
        raise explained(error) from None
    return connection


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises `EnvironmentFault` where there is no such database."""
    if not path.exists():
        raise EnvironmentFault(f"there is no {path.absolute()} yet: the daemon makes it when it first starts")
    try:
        connection = sqlite3.connect(_uri(path), uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    except sqlite3.Error as error:
        raise EnvironmentFault(f"{path}: {error}") from None
    connection.text_factory = lambda text: text.decode(errors="backslashreplace")
    return connection


def _uri(path: Path) -> str:
    """Read-only; `immutable` where the folder cannot be written and nobody has the file open.

    A reader of a WAL database otherwise has to make its shared-memory file, which it could not.
    """
    at_rest = not os.access(path.absolute().parent, os.W_OK) and not Path(f"{path}-wal").exists()
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if at_rest else ''}"


@contextmanager
def only_reading(connection: sqlite3.Connection) -> Iterator[None]:
    """While inside, statements can only read, Ctrl-C stops them, and errors are told in one line."""
    refused: list[str] = []

    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        allowed = (
            action in _READING
            or (action == sqlite3.SQLITE_PRAGMA and first in _READING_PRAGMAS)
            or (action == sqlite3.SQLITE_FUNCTION and second not in _REFUSED_FUNCTIONS)
        )
        if not allowed:
            refused.append(_REFUSED.get(action, "this statement"))
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    connection.set_authorizer(authorize)
    connection.set_progress_handler(lambda: 0, _STEPS_BETWEEN_SIGNALS)
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning) as error:
        if refused:
            raise QueryRefused(f"only reading is possible here: {refused[0]} is refused") from None
        raise explained(error) from None


def explained(error: BaseException) -> BaseException:
    """What to raise for an error of SQLite: whose fault it is decides the exit code."""
    text = escape(str(error))
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the primary of an extended code
    if code == sqlite3.SQLITE_INTERRUPT:
        return KeyboardInterrupt()
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return EnvironmentFault(f"the database is locked by another program: {text}")
    if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_RANGE):
        return QueryRefused(text)
    return EnvironmentFault(text)
