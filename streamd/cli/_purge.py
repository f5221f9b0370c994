"""`streamd dead-letters purge`: deletes dead letters for good."""

import argparse
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from streamd.cli._replay import refuse_missing
from streamd.cli.query import QueryRefused
from streamd.core.errors import EnvironmentFault
from streamd.dead_letters.filter import LetterFilter
from streamd.sqlite.read_only import is_there, refuse_irregular

_BUSY_TIMEOUT_S = 5.0
_LETTERS_PER_COMMIT = 1000
"""A daemon that writes letters meanwhile waits for one such commit, not for the whole purge."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments other than the filters."""
    parser.add_argument("--all", action="store_true", help="delete every letter; required without a filter")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def main(options: argparse.Namespace, file: Path, wanted: LetterFilter) -> int:
    """Delete the selected letters. Raises `QueryRefused` and `EnvironmentFault`."""
    if wanted.empty and not options.all:
        raise QueryRefused("purge deletes for good: give numbers, a filter such as --reason, or --all")
    if not is_there(file):
        raise EnvironmentFault(f"there is no {file}")
    refuse_irregular(file)
    try:
        with closing(_open(file)) as connection:
            refuse_missing(connection, wanted)
            return _purge(connection, wanted, ask=not options.yes)
    except sqlite3.Error as error:
        raise EnvironmentFault(f"{file}: {error}; letters deleted before this error stay deleted") from error


def _open(file: Path) -> sqlite3.Connection:
    uri = f"{file.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)


def _purge(connection: sqlite3.Connection, wanted: LetterFilter, *, ask: bool) -> int:
    # `last_id` excludes letters that arrive after the question, because the user has not confirmed them.
    ((count, last_id),) = connection.execute(
        f"SELECT count(*), max(id) FROM dead_letters WHERE {wanted.condition}",  # noqa: S608 - no user input
        wanted.parameters,
    )
    letters = "1 dead letter" if count == 1 else f"{count:,} dead letters"
    if not count:
        print("no dead letters match")
        return 0
    if ask and not _confirmed(letters):
        print("nothing was deleted")
        return 1
    deleted = 0
    while removed := connection.execute(
        f"DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE {wanted.condition}"  # noqa: S608 - no user input
        " AND id <= ? ORDER BY id LIMIT ?)",
        [*wanted.parameters, last_id, _LETTERS_PER_COMMIT],
    ).rowcount:
        deleted += removed
    print(f"deleted {deleted:,} dead letter{'s' * (deleted != 1)}")
    return 0


def _confirmed(letters: str) -> bool:
    if not sys.stdin.isatty():
        raise QueryRefused(f"{letters} would be deleted; without a terminal, confirm it with --yes")
    print(f"delete {letters} for good? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
