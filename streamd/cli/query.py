"""`streamd query`: queries the stored data in SQL, read-only, while the daemon writes."""

import argparse
import itertools
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from streamd.cli._schema_hint import with_hint
from streamd.cli._standard_streams import argument, read_text
from streamd.cli._table import Style, write_rows
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.plural import counted
from streamd.core.printable import printable
from streamd.sqlite.attached import open_schemas
from streamd.sqlite.files import COMPANIONS, foreign
from streamd.sqlite.read_only import QueryRefused, only_reading, open_read_only

if TYPE_CHECKING:
    from streamd.config import Config

__all__ = [
    "QueryRefused",
    "add",
    "add_file_options",
    "add_statement",
    "answer",
    "chosen_file",
    "main",
    "only_reading",
    "open_read_only",
    "positive",
    "whole",
]

DEAD_LETTERS_FILE = "dead-letters.db"
"""The name of the dead letters' file without a configuration."""


def add(parser: argparse.ArgumentParser) -> None:
    add_statement(parser)
    style = parser.add_mutually_exclusive_group()
    style.add_argument(
        "--format",
        dest="style",
        choices=["table", "json", "csv", "parquet"],
        help="default: a table on a terminal, tab-separated elsewhere",
    )
    style.add_argument(
        "--json", dest="style", action="store_const", const="json", help="print one JSON object a line"
    )
    style.add_argument(
        "--csv", dest="style", action="store_const", const="csv", help="print CSV with a header"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write to FILE, which appears when all rows are written"
    )
    parser.set_defaults(style="auto")
    parser.epilog = (
        "Dead letters are in schema dead: select reason, count(*) from dead_letters group by 1."
        " Parquet goes to --output and needs pyarrow."
    )


def add_statement(parser: argparse.ArgumentParser) -> None:
    """Add the statement, the options that select the files, and `--limit`, for `answer`."""
    parser.add_argument("sql", metavar="SQL", help="one SELECT; - reads it from standard input")
    add_file_options(
        parser, "an SQLite file to query, without a configuration; may be dated: logs-%%Y-%%m-%%d.db"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="stop after N rows")


def add_file_options(parser: argparse.ArgumentParser, db_help: str) -> None:
    """Add `--config` and `--db`, which select the files."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--config", metavar="FILE", help="the configuration that names the files")
    place.add_argument("--db", metavar="FILE", type=Path, help=db_help)


def chosen_file(options: argparse.Namespace, of: "Callable[[Config], str]") -> Path:
    """The file of `--db`, or the one that `of` finds in the configuration, in its `state_dir`."""
    if options.db:
        return Path(options.db)
    from streamd.host.running import loaded_where_it_runs  # noqa: PLC0415 - loads every component

    loaded = loaded_where_it_runs(options.config)
    return loaded.state_dir / of(loaded.config)


MOST_DIGITS = 18


def positive(text: str) -> int:
    """A whole number above 0 in the range of SQLite, for argparse."""
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {10**MOST_DIGITS - 1:,}")
    return int(text)


def main(options: argparse.Namespace) -> int:
    if options.style == "parquet" and options.output is None:
        raise ConfigError("--format parquet needs --output FILE: a terminal cannot show it")
    with answer(options) as (columns, rows):
        if options.output is None:
            write_rows(columns, rows, options.style)
        else:
            with whole(options.output) as path:
                _write_file(path, columns, rows, options.style)
    return 0


@contextmanager
def answer(options: argparse.Namespace) -> Iterator[tuple[list[str], Iterator[Sequence[Any]]]]:
    """The columns and rows of the statement `options.sql`, at most `options.limit`.

    Files that are left out are named on standard error. Raises `QueryRefused`, also while rows are read, and
    `EnvironmentFault`.
    """
    sql = read_text() if options.sql == "-" else argument(options.sql)
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise QueryRefused("the statement is not valid UTF-8") from None
    schemas = _of_file(options.db) if options.db else _of_configuration(options.config)
    connection, left_out, foreign = open_schemas(schemas)
    for path, why in foreign.items():
        print(f"streamd: {printable(str(path), sys.maxsize)} is left out: {why}", file=sys.stderr)
    if left_out:
        files = counted(len(left_out), "older file is", "older files are")
        print(
            f"streamd: {files} left out, {left_out[0].name} and before it: SQLite"
            " reads few at once; streamd.read() reads all files, --db reads one of them",
            file=sys.stderr,
        )
    with closing(connection):
        try:
            with only_reading(connection):
                cursor = connection.execute(sql)
                yield _columns(cursor), itertools.islice(cursor, options.limit)
        except QueryRefused as refused:
            raise with_hint(refused, connection, sql) from None


def _columns(cursor: sqlite3.Cursor) -> list[str]:
    if cursor.description is None:
        raise QueryRefused("the statement is no SELECT")
    return [column[0] for column in cursor.description]


def _write_file(
    path: Path, columns: Sequence[str], rows: Iterator[Sequence[Any]], style: Style | Literal["parquet"]
) -> None:
    if style == "parquet":
        from streamd.cli import _parquet  # noqa: PLC0415 - only this format needs it

        _parquet.write(path, columns, rows)
        return
    with path.open("w", encoding="utf-8", newline="") as out:
        write_rows(columns, rows, style, out)


def _may_be_replaced(path: Path) -> bool:
    """Whether the path is a regular file and no part of a database. No command may damage stored data."""
    if path.is_symlink() or not path.is_file():
        return False
    base = next((path.name.removesuffix(end) for end in COMPANIONS if path.name.endswith(end)), None)
    if base and path.with_name(base).exists():
        return False
    return path.stat().st_size == 0 or foreign(path) is not None


def _why_kept(path: Path) -> str:
    if path.is_symlink():
        there = "" if path.exists() else ", which does not exist"
        return f"is no regular file but a symbolic link to {path.readlink()}{there}"
    return (
        "is a database or a part of one, and no regular file of results"
        if path.is_file()
        else "is no regular file"
    )


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path to write to. It replaces `path` at the end, and is removed after an error."""
    if (path.exists() or path.is_symlink()) and not _may_be_replaced(path):
        raise EnvironmentFault(f"{path} {_why_kept(path)}: name another file")
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise EnvironmentFault(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):  # there is none, or there can be none
            part.unlink()


def _of_file(path: Path) -> dict[str, Path]:
    return {"main": path, "dead": path.parent / DEAD_LETTERS_FILE}


def _of_configuration(config_file: str | None) -> dict[str, Path]:
    """Files by schema, as `streamd.config.databases` has them."""
    from streamd.config.databases import schemas  # noqa: PLC0415 - loads every component
    from streamd.host.running import loaded_where_it_runs  # noqa: PLC0415

    return schemas(loaded_where_it_runs(config_file))
