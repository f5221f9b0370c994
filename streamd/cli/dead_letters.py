"""`streamd dead-letters`: shows, edits, replays and purges rejected frames and records."""

import argparse
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from streamd.cli import _edit, _purge, _replay
from streamd.cli._standard_streams import for_programs
from streamd.cli._table import json_line, text_of, write_rows
from streamd.cli.query import (
    QueryRefused,
    add_file_options,
    chosen_file,
    only_reading,
    open_read_only,
    positive,
)
from streamd.core.moment import moment
from streamd.core.printable import escape, printable
from streamd.dead_letters.filter import LetterFilter
from streamd.dead_letters.reader import (
    ALL_COLUMNS,
    COUNT_COLUMNS,
    SHOWN_CHARACTERS,
    counted,
    named,
    newest,
    row,
)

_LISTED = ("id", "received_at", "source", "peer", "stage", "reason", "detail", "payload")


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    listing = actions.add_parser("list", help="list letters, newest first, with shortened payloads")
    _add_filters(listing)
    listing.add_argument(
        "--limit", type=positive, default=50, metavar="N", help="list at most N letters (default %(default)s)"
    )
    listing.add_argument(
        "--json", action="store_true", help="print one JSON object a line, with whole payloads"
    )
    count = actions.add_parser("count", help="count letters by source, stage and reason")
    _add_filters(count)
    count.add_argument("--json", action="store_true", help="print one JSON object a line")
    show = actions.add_parser("show", help="show one whole letter")
    show.add_argument("id", type=positive, metavar="ID", help="the letter's number in the list")
    form = show.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON object")
    form.add_argument("--raw", action="store_true", help="print only the payload, byte for byte")
    purge = actions.add_parser("purge", help="delete letters for good")
    _add_ids(purge)
    _add_filters(purge)
    _purge.add(purge)
    replay = actions.add_parser("replay", help="send letters through the pipelines again")
    _add_ids(replay)
    _add_filters(replay)
    _replay.add(replay)
    _edit.add(actions.add_parser("edit", help="edit the content of one letter, and replay it"))
    for action in (listing, count, show, purge):
        add_file_options(action, "the dead letters' file, without a configuration")


def _add_ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", type=positive, nargs="*", metavar="ID", help="only letters with these numbers")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", help="only letters with this reason, such as json:syntax")
    parser.add_argument("--source", help="only letters from this source")
    parser.add_argument("--stage", help="only letters from this stage: framing, decode, a step's name, sink")
    parser.add_argument("--pipeline", help="only letters from this pipeline")
    parser.add_argument(
        "--since",
        type=_since,
        metavar="TIME",
        help="only letters received since TIME: 10m (ago) or an RFC 3339 time",
    )


def _since(text: str) -> str:
    """The given time in the format of the table, for argparse."""
    try:
        return moment(text, time.time(), timezone="UTC")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(options: argparse.Namespace) -> int:
    if options.action == "edit":
        return _edit.main(options)
    if options.action == "replay":
        return _replay.main(options, _wanted(options))
    if options.action == "purge":
        return _purge.main(options, _file(options), _wanted(options))
    file = _file(options)
    with closing(open_read_only(file)) as connection, only_reading(connection, file):
        {"list": _list, "count": _count, "show": _show}[options.action](connection, options)
    sys.stdout.flush()
    return 0


def _file(options: argparse.Namespace) -> Path:
    return chosen_file(options, lambda config: config.dead_letters.path)


def _wanted(options: argparse.Namespace) -> LetterFilter:
    ids = tuple(getattr(options, "ids", ())) or None
    return LetterFilter(options.reason, options.source, options.stage, options.pipeline, options.since, ids)


def _list(connection: sqlite3.Connection, options: argparse.Namespace) -> None:
    wanted = _wanted(options)
    if options.json:
        sys.stdout.writelines(map(_json, newest(connection, wanted, ALL_COLUMNS, options.limit)))
    else:
        rows = newest(connection, wanted, _LISTED, options.limit)
        columns: tuple[str, ...] = _LISTED
        shown = _shortened(rows)
        if sys.stdout.isatty():
            columns, shown = _for_a_screen(list(shown))
        write_rows(columns, shown, "auto")


def _for_a_screen(
    rows: list[tuple[Any, ...]],
) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
    """Rows for a terminal: without columns that are empty in every row and without fractions of seconds."""
    kept = [i for i in range(len(_LISTED)) if not rows or any(row[i] for row in rows)]
    at = _LISTED.index("received_at")
    short = [(*row[:at], f"{row[at][:19].replace('T', ' ')}Z", *row[at + 1 :]) for row in rows]
    return tuple(_LISTED[i] for i in kept), (tuple(row[i] or "" for i in kept) for row in short)


def _shortened(rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    for *others, payload in rows:
        yield *others, printable(payload, SHOWN_CHARACTERS)


def _count(connection: sqlite3.Connection, options: argparse.Namespace) -> None:
    rows = counted(connection, _wanted(options))
    write_rows(COUNT_COLUMNS, rows, "json" if options.json else "auto")


def _show(connection: sqlite3.Connection, options: argparse.Namespace) -> None:
    try:
        found = row(connection, options.id)
    except LookupError as error:
        raise QueryRefused(error.args[0]) from None
    payload = found[-1]
    if options.raw:
        sys.stdout.buffer.write(payload.encode() if isinstance(payload, str) else payload)
        sys.stdout.buffer.flush()
    elif options.json:
        sys.stdout.write(_json(found))
    else:
        for name, value in zip(ALL_COLUMNS[:-1], found[:-1], strict=True):
            print(f"{name:<12} {escape(text_of(value))}")
        print(f"\n{printable(payload, sys.maxsize)}")


def _json(values: tuple[Any, ...]) -> str:
    found = named(values)
    return json_line(list(found), list(found.values()), for_programs().encoding or "utf-8") + "\n"
