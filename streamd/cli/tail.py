"""`streamd tail`: shows the newest stored records, and follows new ones."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamd.cli._schema_hint import tables_of, with_hint
from streamd.cli._standard_streams import argument, for_programs
from streamd.cli._table import distinct, json_line, text_of
from streamd.cli.query import add_file_options, positive
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.printable import escape
from streamd.reading.stored import StoredTable, in_file, of_configuration
from streamd.sqlite.condition import bracketed
from streamd.sqlite.files import identity
from streamd.sqlite.read_only import QueryRefused, only_reading, open_read_only, read_only_uri
from streamd.sqlite.table import ROW_NUMBER, quote

POLL_S = 0.2
_ROWS_AT_ONCE = 1000
"""Rows fetched before any is printed, because a slow terminal must not keep the write-ahead log open."""

Identity = tuple[int, int]
Row = tuple[Any, ...]
Line = tuple[Sequence[str], Row]
"""Columns and values."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "table",
        nargs="?",
        type=argument,
        metavar="TABLE",
        help="the name of a table or of a sink (default: the first sqlite sink)",
    )
    add_file_options(parser, "an SQLite file to read, without a configuration; needs TABLE")
    parser.add_argument(
        "-n",
        dest="count",
        type=_count,
        default=10,
        metavar="N",
        help="show the newest N records (default %(default)s)",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="continue with new records, until Ctrl-C")
    parser.add_argument(
        "--where",
        type=argument,
        metavar="SQL",
        help="only records for which this condition is true, such as 'value > 90'",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.epilog = (
        "A record that replaces an older one (unique) keeps the older one's place and is not shown again."
    )


def _count(text: str) -> int:
    return 0 if text == "0" else positive(text)


def main(options: argparse.Namespace) -> int:
    """Print the newest rows, and follow until Ctrl-C. Raises `EnvironmentFault` if there is no table."""
    stored = _stored(options)
    for path, why in stored.left_out().items():
        print(f"streamd: {escape(str(path))} is left out: {why}", file=sys.stderr)
    for path in stored.to_come(_now()):
        print(
            f"streamd: {escape(str(path))} has a date in the future: the current file is followed",
            file=sys.stderr,
        )
    file, newest = _newest(stored, options.where, options.count)
    if file is None or not file.columns():
        if not options.follow:
            path = stored.path if file is None else file.path
            with closing(open_read_only(path)) as connection:  # raises if there is no file
                there = tables_of(connection)
            raise EnvironmentFault(
                f"there is no table {escape(stored.table)} in {stored.path} yet; there are {there}"
            )
        print(f"streamd: waiting for {escape(stored.table)} in {stored.path}", file=sys.stderr)
    line = _json if options.json else _words
    if options.json:
        for_programs()
    for columns, row in newest:
        print(line(columns, row))
    sys.stdout.flush()
    try:
        for columns, rows in _coming(stored, options.where, file) if options.follow else ():
            sys.stdout.writelines(line(columns, row) + "\n" for row in rows)
            sys.stdout.flush()
    finally:
        if file is not None:
            file.close()
    return 0


class _File:
    """One file of the table, and the number of its last row that was shown."""

    def __init__(self, path: Path, table: str, where: str | None) -> None:
        self.path = path
        self._table = table
        self._where = where
        self._shown = 0
        self._open()

    def _open(self) -> None:
        """Connect, and remember the identity of the files. SQLite opens the log at the first statement."""
        while True:
            before = self._files()
            self._connection = open_read_only(self.path)
            self._at_rest = "immutable" in read_only_uri(self.path)
            self._ask("SELECT 1 FROM sqlite_schema")
            self._opened = self._files()
            if self._at_rest or self._opened == before:
                return
            self._connection.close()  # this connection made the log, or a file was replaced meanwhile

    def _files(self) -> tuple[Identity, Identity]:
        return identity(self.path), identity(Path(f"{self.path}-wal"))

    def close(self) -> None:
        self._connection.close()

    def is_current(self) -> bool:
        """Whether the path still leads to this file."""
        return self._opened[0] == identity(self.path)

    def columns(self) -> list[str]:
        """The names of the table's columns. Empty if there is no such table."""
        return [name for _, name, *_ in self._ask(f"PRAGMA table_info({quote(self._table)})")]

    def newest(self, count: int) -> list[Line]:
        """The last `count` rows that fulfil the condition, oldest first. All rows then count as shown."""
        columns = self.columns()
        if not columns:
            return []
        self._shown = self._top(columns)
        return [(columns, row) for row in reversed(self._rows(columns, 0, count, "DESC"))]

    def news(self) -> Iterator[tuple[Sequence[str], list[Row]]]:
        """The rows added since, some at a time. The table may have new columns, or have been dropped."""
        if self._at_rest or (self.is_current() and self._opened != self._files()):
            # The file was opened as immutable, or its log was removed when its last writer closed it. Only a
            # new connection sees rows written after that.
            self.close()
            self._open()
        columns = self.columns()
        if not columns:
            self._shown = 0
            return
        try:
            top = self._top(columns)
            self._shown = min(self._shown, top)  # the newest rows were deleted, so their numbers are reused
            while self._shown < top:
                rows = self._rows(columns, self._shown, _ROWS_AT_ONCE, "ASC")
                self._shown = rows[-1][0] if len(rows) == _ROWS_AT_ONCE else top
                yield columns, [row[1:] for row in rows]
        except QueryRefused:
            if self.columns():
                raise  # otherwise the table was dropped between two statements
        except EnvironmentFault:
            if self._opened == self._files():
                raise  # otherwise its files were removed during the read

    def _top(self, columns: Sequence[str]) -> int:
        ((top,),) = self._ask(f"SELECT max({_number(columns)}) FROM {quote(self._table)}")  # noqa: S608 - quoted
        return top or 0

    def _rows(self, columns: Sequence[str], after: int, count: int, order: str) -> list[Row]:
        number = _number(columns)
        condition = ""
        if self._where is not None:
            try:
                with only_reading(self._connection):
                    condition = f" AND {bracketed(self._connection, self._table, self._where)}"
            except QueryRefused as refused:
                raise with_hint(refused, self._connection, f"{self._table} {self._where}") from None
        return self._ask(
            f"SELECT {', '.join([number, *map(quote, columns)])} FROM {quote(self._table)}"  # noqa: S608 - quoted
            f" WHERE {number} > ?{condition} ORDER BY {number} {order} LIMIT ?",
            (after, count),
        )

    def _ask(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        with only_reading(self._connection):
            return self._connection.execute(sql, parameters).fetchall()


def _newest(stored: StoredTable, where: str | None, count: int) -> tuple[_File | None, list[Line]]:
    """The newest file, and the last `count` rows of it and of the files before it."""
    newest: _File | None = None
    lines: list[Line] = []
    for path in stored.up_to(_now()):
        file = _File(path, stored.table, where)
        lines = [(columns, row[1:]) for columns, row in file.newest(count - len(lines))] + lines
        if newest is None:
            newest = file
        else:
            file.close()
        if len(lines) >= count:
            break
    return newest, lines


def _coming(
    stored: StoredTable, where: str | None, file: _File | None
) -> Iterator[tuple[Sequence[str], list[Row]]]:
    """New rows, without end. Continues with the next file when the path leads to another one."""
    while True:
        newest = next(stored.up_to(_now()), None)  # taken before the current file is read to its end
        if file is not None:
            yield from file.news()  # also the last rows of a replaced file
            if not file.is_current() or newest not in (None, file.path):
                file.close()
                file = None
        if file is None and newest is not None:
            with suppress(EnvironmentFault):  # the file was removed again
                file = _File(newest, stored.table, where)
                continue
        time.sleep(POLL_S)


def _number(columns: Sequence[str]) -> str:
    """A name of the row number that no column hides. `Table` refuses columns that hide all of them."""
    hidden = {column.lower() for column in columns}
    return next((name for name in ROW_NUMBER if name not in hidden), ROW_NUMBER[0])


def _now() -> datetime:
    return datetime.now(UTC)


def _json(columns: Sequence[str], row: Row) -> str:
    return json_line(distinct(columns), row, sys.stdout.encoding or "utf-8")


def _words(columns: Sequence[str], row: Row) -> str:
    """`sensor=s-1  value=21.5`, without NULL values."""
    pairs = zip(columns, row, strict=True)
    return "  ".join(f"{escape(name)}={escape(text_of(value))}" for name, value in pairs if value is not None)


def _stored(options: argparse.Namespace) -> StoredTable:
    if options.db:
        if options.table is None:
            raise ConfigError("--db needs the name of the table: streamd tail TABLE --db FILE")
        return in_file(options.db, options.table)
    from streamd.host.running import loaded_where_it_runs  # noqa: PLC0415 - loads every component

    loaded = loaded_where_it_runs(options.config, may_be_missing=options.follow)
    return of_configuration(loaded, options.table)
