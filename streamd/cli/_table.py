"""Prints rows: as a table on a terminal, and as TSV, JSON lines or CSV elsewhere.

The values came from the network. None of their bytes reaches a terminal as a control sequence.
"""

import base64
import csv
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TextIO

import msgspec

from streamd.cli._layout import laid_out, width_of
from streamd.cli._standard_streams import for_programs
from streamd.core.printable import escape

Style = Literal["auto", "table", "json", "csv"]
"""`auto`: a table on a terminal, TSV (tab-separated, one header line) elsewhere."""

_ROWS_PER_TABLE = 200
"""A table needs its rows in memory to compute widths, so a long result is printed as several tables."""

_PLAIN_WIDTH = 200
"""The width of a table without a terminal."""


def text_of(value: object) -> str:
    """One SQLite value as text. NULL is empty, and bytes that are not UTF-8 are written as `x'…'`."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return f"x'{value.hex()}'"
    return str(value)


def json_line(columns: Sequence[str], row: Sequence[object], encoding: str = "utf-8") -> str:
    """One row as a JSON object. Bytes are always base64, so that a reader need not guess."""
    values = (base64.b64encode(value).decode() if isinstance(value, bytes) else value for value in row)
    return escape_json(msgspec.json.encode(dict(zip(columns, values, strict=True))).decode(), encoding)


def escape_json(line: str, encoding: str = "utf-8") -> str:
    """The same JSON value with control characters, and characters that `encoding` lacks, as escapes."""
    if not line.isprintable():
        line = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
        line = line.replace("\x7f", "\\u007f")  # the only control character that JSON does not escape
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return "".join(c if c.isascii() else json.dumps(c)[1:-1] for c in line)
    return line


def write_rows(
    columns: Sequence[str], rows: Iterable[Sequence[object]], style: Style, out: TextIO | None = None
) -> None:
    """Write all rows to `out` (default: standard output) one at a time. A table holds back some rows."""
    out = out or sys.stdout
    terminal = out.isatty()
    if not terminal and style != "table":
        out = for_programs(out)
    if style == "json":
        names, encoding = distinct(columns), out.encoding or "utf-8"
        out.writelines(json_line(names, row, encoding) + "\n" for row in rows)
    elif style == "csv":
        shown: Callable[[str], str] = escape if terminal else str  # exact in a file, escaped on a terminal
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([shown(name) for name in columns])
        writer.writerows([shown(text_of(value)) for value in row] for row in rows)
    elif terminal or style == "table":
        _write_tables(columns, rows, out)
    else:
        lines = itertools.chain([columns], rows)
        out.writelines("\t".join(escape(text_of(value)) for value in line) + "\n" for line in lines)
    out.flush()


def distinct(names: Sequence[str]) -> list[str]:
    """The names with `_2`, `_3` … appended to repeated ones, because keys of one object must differ."""
    found: list[str] = []
    for name in names:
        candidates = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
        found.append(next(candidate for candidate in candidates if candidate not in found))
    return found


def _write_tables(columns: Sequence[str], rows: Iterable[Sequence[object]], out: TextIO) -> None:
    names, width = [escape(name) for name in columns], width_of(out, _PLAIN_WIDTH)
    waiting = iter(rows)
    part = list(itertools.islice(waiting, _ROWS_PER_TABLE))
    while True:
        right = [all(isinstance(row[i], int | float | None) for row in part) for i in range(len(names))]
        shown = [["NULL" if value is None else escape(text_of(value)) for value in row] for row in part]
        out.writelines(f"{line}\n" for line in laid_out(names, shown, right, width))
        part = list(itertools.islice(waiting, _ROWS_PER_TABLE))
        if not part:
            return
        out.write("\n")
