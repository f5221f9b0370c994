"""`streamd state`: shows and deletes the state that steps keep over a restart."""

import argparse
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from streamd.cli._table import write_rows
from streamd.cli.query import (
    QueryRefused,
    add_file_options,
    chosen_file,
    only_reading,
    open_read_only,
    positive,
)
from streamd.core.errors import EnvironmentFault
from streamd.core.listed import listed as few
from streamd.sqlite.read_only import is_there, refuse_irregular
from streamd.state.reader import COLUMNS, drop, listed, users_of
from streamd.state.store import FILE

_BUSY_TIMEOUT_S = 5.0
_SHOWN = ("id", "pipeline", "step", "use", "saved_at", "bytes", "why")


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    listing = actions.add_parser("list", help="list the state of each step, and states that were set aside")
    listing.add_argument("--json", action="store_true", help="print one JSON object a line, with all columns")
    dropping = actions.add_parser("drop", help="delete states for good, while no daemon uses them")
    dropping.add_argument(
        "ids", type=positive, nargs="*", metavar="ID", help="the numbers of the states in the list"
    )
    dropping.add_argument("--set-aside", action="store_true", help="delete all states that were set aside")
    dropping.add_argument("--all", action="store_true", help="delete all states")
    dropping.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    for action in (listing, dropping):
        add_file_options(action, "the file of the states, without a configuration")


def main(options: argparse.Namespace) -> int:
    if options.action == "drop":
        return _drop(options)
    if _has_none(options):
        return 0
    file = _there(options)
    with closing(open_read_only(file)) as connection, only_reading(connection, file):
        rows = listed(connection)
    columns = COLUMNS if options.json else _SHOWN
    chosen = [COLUMNS.index(name) for name in columns]
    write_rows(columns, [[row[i] for i in chosen] for row in rows], "json" if options.json else "auto")
    sys.stdout.flush()
    return 0


def _file(options: argparse.Namespace) -> Path:
    return chosen_file(options, lambda _: FILE)


def _has_none(options: argparse.Namespace) -> bool:
    """Whether no step of the configuration has stored a state yet, which is then printed."""
    file = _file(options)
    if options.db or is_there(file):
        return False
    print(f"no step has stored a state: there is no {file}", file=sys.stderr)
    return True


def _there(options: argparse.Namespace) -> Path:
    file = _file(options)
    if not is_there(file):
        raise EnvironmentFault(f"there is no {file}: no step has stored a state")
    refuse_irregular(file)
    return file


def _drop(options: argparse.Namespace) -> int:
    if bool(options.ids) + options.set_aside + options.all != 1:
        raise QueryRefused("name the states to delete: numbers of `streamd state list`, --set-aside or --all")
    if not options.ids and _has_none(options):
        return 0
    file = _there(options)
    if pids := users_of(file):
        raise EnvironmentFault(
            f"{file} is open in process {', '.join(map(str, pids))}: a daemon would store its states again;"
            " stop it first"
        )
    try:
        with closing(_open(file)) as connection:
            there = {row[0]: row for row in listed(connection)}
            missing = [str(number) for number in options.ids if number not in there]
            if missing:
                raise QueryRefused(f"there is no state with the number {few(missing)}")
            set_aside = COLUMNS.index("set_aside_at")
            chosen = options.ids or [
                number for number, row in there.items() if options.all or row[set_aside] is not None
            ]
            count = len(set(chosen))
            if not count:
                print("no state matches")
                return 0
            words = "1 state" if count == 1 else f"{count} states"
            if not options.yes and not _confirmed(words):
                print("nothing was deleted")
                return 1
            drop(connection, set(chosen))
    except sqlite3.Error as error:
        raise EnvironmentFault(f"{file}: {error}; nothing was deleted") from error
    print(f"deleted {words}")
    return 0


def _open(file: Path) -> sqlite3.Connection:
    uri = f"{file.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)


def _confirmed(states: str) -> bool:
    if not sys.stdin.isatty():
        raise QueryRefused(f"{states} would be deleted; without a terminal, confirm it with --yes")
    print(f"delete {states} for good? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
