"""`streamd tap`: shows the records that pass a point of a running daemon."""

import argparse
import difflib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from streamd.admin.client import STATUS_TIMEOUT_S, Response, add_place, ask, named_events, place, refused
from streamd.charts.screen import plain
from streamd.cli._layout import laid_out, width_of
from streamd.cli._standard_streams import argument, for_programs
from streamd.cli._table import escape_json
from streamd.cli.query import positive
from streamd.core.errors import ConfigError, EnvironmentFault, StreamdError
from streamd.core.listed import listed
from streamd.core.plural import counted
from streamd.core.printable import escape

_TIMEOUT_S = 10.0
"""The limit for the next event. The slow import of a step may delay the daemon for some seconds."""
_PLAIN_WIDTH = 200
_OK, _WRONG, _UNKNOWN = 200, 400, 404
_REASONS = {
    "rate": "more came than --rate shows",
    "slow": "this command read too slowly",
    "size": "too large together for one second",
    "unexamined": "more came than --where is tried on",
    "failed": "--where failed on them",
}


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "point",
        nargs="?",
        type=argument,
        metavar="POINT",
        help="source:NAME, step:PIPELINE.STEP (its results) or sink:NAME; without it, all points are listed",
    )
    add_place(parser)
    parser.add_argument(
        "--where", type=argument, metavar="EXPR", help="only records for which this expression is true"
    )
    parser.add_argument(
        "--fields", type=argument, metavar="A,B", help="show only these fields; a.b is field b of object a"
    )
    parser.add_argument(
        "--rate",
        type=positive,
        metavar="N",
        help="show at most N records a second (default 10, at most 1000)",
    )
    parser.add_argument(
        "--once",
        nargs="?",
        type=positive,
        const=1,
        metavar="N",
        help="show the first N records (default 1, at most 1000) instead of a sample, and end",
    )
    parser.add_argument(
        "--format",
        choices=("json", "table"),
        help="one JSON object a line, or tables (default: table on a terminal, json elsewhere)",
    )
    parser.epilog = (
        "Shows a fair sample of each second, and prints how many records were skipped. Values that a source"
        " or a step redacts are redacted here too. Ends with Ctrl-C. Exit code: 0 all of --once were shown, 1"
        " no daemon answers, or it ended the tap, 2 wrong usage."
    )


def main(args: argparse.Namespace) -> int:
    """Returns 0 when all records of `--once` were shown. Raises `ConfigError` or `EnvironmentFault`."""
    path = place(args)
    if args.point is None:
        return _list_points(path)
    return _show(path, args)


def _show(path: Path, args: argparse.Namespace) -> int:
    given = {name: getattr(args, name) for name in ("point", "where", "fields", "rate", "once")}
    target = f"/tap?{urlencode({name: value for name, value in given.items() if value is not None})}"
    as_table = args.format == "table" or (args.format is None and sys.stdout.isatty())
    fields = None if args.fields is None else [name.strip() for name in args.fields.split(",")]
    view = _View(_Tables(fields) if as_table else _Lines())
    try:
        for name, data in named_events(path, target, _TIMEOUT_S, _refusal):
            view.take(name, json.loads(data) if name else {})
            if view.end is not None:
                break
    except BrokenPipeError:  # the reader of the output is gone, so the command ends silently
        raise
    except BaseException:
        view.print_sums()
        raise
    view.print_sums()
    if view.end is None:
        raise EnvironmentFault(
            f"{escape(str(path))} sends no more events: the daemon has ended, or this command read too slowly"
        )
    if view.end["reason"] != "once":
        raise EnvironmentFault(f"the tap has ended: {escape(view.end['text'])}")
    return 0


def _list_points(path: Path) -> int:
    answer = ask(path, "GET", "/points", STATUS_TIMEOUT_S)
    if answer.code != _OK:
        raise refused(path, answer)
    for point in json.loads(answer.body)["points"]:
        later = point["concealed_by"]
        print(
            escape(point["point"]) + (f"  (redacted as by {', '.join(map(escape, later))})" if later else "")
        )
    return 0


def _refusal(path: Path, answer: Response) -> StreamdError:
    if answer.code in (_WRONG, _UNKNOWN):
        return ConfigError(answer.lines())
    return refused(path, answer)


class _Shows(Protocol):
    def add(self, record: dict[str, Any]) -> None:
        """Take a record."""

    def skip(self, count: int) -> None:
        """Records were skipped."""

    def flush(self) -> None:
        """Show what was taken."""


class _View:
    """Follows the events of a tap: shows the records, and counts them."""

    def __init__(self, output: _Shows) -> None:
        self.end: dict[str, Any] | None = None
        self._output = output
        self._is_open = False
        self._shown = 0
        self._skipped: Counter[str] = Counter()

    def take(self, name: str, document: dict[str, Any]) -> None:
        """Take an event; one without a name ends the records of a second."""
        if name == "open":
            self._is_open = True
        elif name == "record":
            self._shown += 1
            self._output.add(document["record"])
        elif name == "skipped":
            self._skip(document)
        elif name == "unseen":
            print(f"streamd: {_unseen(document)}", file=sys.stderr)
        elif name == "end":
            self.end = document
        if name in ("end", ""):
            self._output.flush()

    def _skip(self, document: dict[str, Any]) -> None:
        why = document.pop("why", None)
        if why is not None and not self._skipped["failed"]:
            print(f"streamd: --where failed on a record: {escape(why)}", file=sys.stderr)
        self._skipped.update(document)
        self._output.skip(document["records"])

    def print_sums(self) -> None:
        """Print how many records were shown and skipped."""
        if not self._is_open:
            return
        counts = dict(self._skipped)
        total = counts.pop("records", 0)
        why = "; ".join(f"{n:,} {_REASONS.get(reason, reason)}" for reason, n in sorted(counts.items()) if n)
        print(
            f"streamd: {counted(self._shown, 'record')} shown, {total:,} skipped{f' ({why})' if why else ''}",
            file=sys.stderr,
        )


def _unseen(document: dict[str, Any]) -> str:
    """Which fields of the condition no record has had."""
    fields, there = document["fields"], document["there"]
    close = [match for name in fields for match in difflib.get_close_matches(name, there, 1)]
    meant = f" (did you mean {listed(map(escape, close))}?)" if close else ""
    tried = counted(document["tried"], "record")
    return (
        f"--where reads {listed(map(escape, fields))}, which no record has had so far ({tried}){meant};"
        f" the newest has {listed(map(escape, there)) or 'no field'}"
    )


class _Lines:
    """Prints one JSON object a line."""

    def __init__(self) -> None:
        self._out = for_programs()

    def add(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=False)
        self._out.write(escape_json(line, self._out.encoding or "utf-8") + "\n")

    def skip(self, count: int) -> None:
        """Not printed: the lines are for programs, and the sums follow in the end."""

    def flush(self) -> None:
        self._out.flush()


class _Tables:
    """Prints the records of each second as a table. Without `fields`, metadata is left out."""

    def __init__(self, fields: Sequence[str] | None) -> None:
        self._fields = fields
        self._records: list[dict[str, Any]] = []
        self._skipped = 0

    def add(self, record: dict[str, Any]) -> None:
        self._records.append(record)

    def skip(self, count: int) -> None:
        self._skipped += count

    def flush(self) -> None:
        if self._records:
            keys = dict.fromkeys(key for record in self._records for key in record)
            names = self._fields or [key for key in keys if not key.startswith("@")] or list(keys)
            rows = [[_cell(record, name) for name in names] for record in self._records]
            right = [_is_number_column([record.get(name) for record in self._records]) for name in names]
            width = width_of(sys.stdout, _PLAIN_WIDTH)
            for line in laid_out([escape(name) for name in names], rows, right, width):
                print(line)
        if self._skipped:
            print(plain(sys.stdout, f"… {self._skipped:,} skipped"))
        if self._records or self._skipped:
            print(flush=True)
        self._records, self._skipped = [], 0


def _cell(record: dict[str, Any], name: str) -> str:
    if name not in record:
        return ""
    value = record[name]
    return escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _is_number_column(values: Sequence[Any]) -> bool:
    """Whether some values are numbers and the others are missing."""
    there = [value for value in values if value is not None]
    return bool(there) and all(isinstance(value, int | float) for value in there)
