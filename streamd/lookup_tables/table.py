"""A table in memory, read from a CSV file or from a table of an SQLite file."""

import csv
import difflib
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, StringConstraints

from streamd.core.errors import EnvironmentFault
from streamd.core.listed import listed
from streamd.core.plural import counted
from streamd.core.text_values import by_look
from streamd.sqlite.read_only import read_only_uri

csv.field_size_limit(sys.maxsize)  # the size of the file bounds a value; Python's own limit is 128 KiB

Rows = dict[Any, tuple[Any, ...]]
"""The values of each row by its key: one text, or a tuple of texts for several key columns."""
FaultReason = Literal["missing", "unreadable", "columns", "rows", "duplicate", "size", "changing"]

ENTRY_BYTES = 100
"""Memory of an entry of a dict, at its least load."""
_BUSY_TIMEOUT_S = 5.0


def _check_delimiter(text: str) -> str:
    if text in '\r\n\0"':
        raise ValueError("delimiter cannot be a line end or a quote")
    return text


Delimiter = Annotated[str, StringConstraints(min_length=1, max_length=1), AfterValidator(_check_delimiter)]
"""The character between two values of a CSV table, as an option."""


class TableFault(EnvironmentFault):
    """The table cannot be read; `reason` is from a closed set."""

    def __init__(self, reason: FaultReason, text: str) -> None:
        super().__init__(text)
        self.reason: FaultReason = reason


@dataclass(frozen=True, slots=True)
class TableSettings:
    """Which table is read, and how."""

    path: Path
    table: str | None
    """The table or view of an SQLite file; None for CSV."""
    key: tuple[str, ...]
    columns: tuple[str, ...]
    delimiter: str = ","
    types: Literal["text", "auto"] = "text"
    max_size_bytes: int = 64 * 2**20
    """Most memory of the table, estimated, and the largest CSV file."""
    repeats: bool = False
    """Whether several rows may have the same key; the first one counts."""


def key_text(value: Any) -> str | None:
    """The text by which a value is looked up: 7, 7.0 and "7" are equal. None for null and nested values."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is float and value.is_integer():
        value = int(value)
    elif kind is not int:
        return repr(value) if kind is float else None
    try:
        return str(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return None


def is_endless(path: Path) -> bool:
    """Whether reading may wait for ever or never end: a device, a pipe or a socket. Raises OSError."""
    mode = path.stat().st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def read_table(settings: TableSettings) -> Rows:
    """The rows of the table. Raises `TableFault`."""
    try:
        if is_endless(settings.path):
            raise TableFault("unreadable", f"{settings.path}: not a file, but a device, a pipe or a socket")
        if settings.table is None:
            return _read_csv(settings)
        return _read_sqlite(settings, settings.table)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TableFault("missing", f"{settings.path}: {error.strerror}") from None
    except OSError as error:
        raise TableFault("unreadable", f"{settings.path}: {error.strerror}") from None
    except (csv.Error, sqlite3.Error, UnicodeError) as error:
        raise TableFault("unreadable", f"{settings.path}: {error}") from None


def _read_csv(settings: TableSettings) -> Rows:
    to_value = by_look if settings.types == "auto" else str
    if settings.path.stat().st_size > settings.max_size_bytes:
        raise _too_large(settings)
    with settings.path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter=settings.delimiter, strict=True)
        header = [name.strip() for name in next(lines, [])]
        key, columns = _places(settings, header, settings.key), _places(settings, header, settings.columns)

        def rows() -> Iterator[tuple[list[str], list[Any]]]:
            for line in lines:
                if len(line) == len(header):
                    yield [line[place] for place in key], [to_value(line[place]) for place in columns]
                elif line:
                    there, wanted = counted(len(line), "value"), counted(len(header), "column")
                    text = f"line {lines.line_num}: {there} for {wanted}"
                    raise TableFault("rows", f"{settings.path}: {text}")

        return _collected(settings, rows(), lambda: f"line {lines.line_num}")


def _read_sqlite(settings: TableSettings, table: str) -> Rows:
    settings.path.stat()  # SQLite's own error does not say that the file is missing
    uri = read_only_uri(settings.path)
    with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S)) as database:
        name = _quoted(table)
        names = [row[1] for row in database.execute(f"PRAGMA table_xinfo({name})")]
        if not names:
            raise TableFault("columns", f"{settings.path}: there is no table {table!r}")
        _places(settings, names, (*settings.key, *settings.columns))
        chosen = ", ".join(map(_quoted, (*settings.key, *settings.columns)))
        found = database.execute(f"SELECT {chosen} FROM {name}")  # noqa: S608 - quoted names
        width = len(settings.key)
        rows = ((list(map(key_text, row[:width])), row[width:]) for row in found)
        return _collected(settings, rows, lambda: f"table {table}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _places(settings: TableSettings, header: Sequence[str], names: Iterable[str]) -> list[int]:
    """The places of columns. Raises `TableFault`."""
    for name in names:
        if header.count(name) > 1:
            raise TableFault("columns", f"{settings.path}: two columns have the name {name!r}")
        if name not in header:
            close = difflib.get_close_matches(name, header, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {listed(header) or 'none'}"
            raise TableFault("columns", f"{settings.path}: there is no column {name!r}: {hint}")
    return [header.index(name) for name in names]


def _collected(
    settings: TableSettings,
    rows: Iterable[tuple[Sequence[str | None], Sequence[Any]]],
    place: Callable[[], str],
) -> Rows:
    """The rows by key. Raises `TableFault` for a key that occurs twice, or for too many rows."""
    found: Rows = {}
    size_bytes = 0
    is_single = len(settings.key) == 1
    for parts, row in rows:
        if None in parts:
            continue  # no record has such a key
        key = parts[0] if is_single else tuple(parts)
        if key in found:
            if settings.repeats:
                continue
            raise TableFault("duplicate", f"{settings.path}: {place()}: the key {key!r} occurs twice")
        values = tuple(row)
        found[key] = values
        size_bytes += ENTRY_BYTES + sys.getsizeof(values) + (0 if is_single else sys.getsizeof(key))
        size_bytes += sum(map(sys.getsizeof, chain(parts, values)))
        if size_bytes > settings.max_size_bytes:
            raise _too_large(settings)
    return found


def _too_large(settings: TableSettings) -> TableFault:
    bound = f"{settings.max_size_bytes:,} bytes"
    return TableFault("size", f"{settings.path}: the table is larger than max_size ({bound})")
