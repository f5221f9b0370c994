"""`streamd status`: shows the books and queues of a running daemon."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from streamd.admin.client import add_place, events, place
from streamd.admin.status_answer import (
    Book,
    BufferStatus,
    DeliveryStatus,
    SourceStatus,
    StatusAnswer,
    StepStatus,
    decoded,
    fetch,
)
from streamd.charts.screen import plain
from streamd.cli import _outlook
from streamd.cli._layout import laid_out, width_of
from streamd.closing_books import counter_lines, with_reasons
from streamd.core.books import DeliveryBook, FrameBook, RecordBook
from streamd.core.errors import EnvironmentFault
from streamd.core.printable import escape

if TYPE_CHECKING:
    import rich.console

_PLAIN_WIDTH = 200
"""The width of tables without a terminal."""

_WATCH_TIMEOUT_S = 10.0
"""The limit for the next event. The slow import of a step may delay the daemon for some seconds."""
_CLEAR = "\x1b[H\x1b[2J"
_WITHOUT_END = 1 << 20
_EMPTY = frozenset({"", "0", "0%"})
_TEXTS = frozenset({"source", "listening", "pipeline", "sink", "stage", "state"})
"""Columns of text. The other columns are numbers."""
_OF_FRAMES = tuple(term.name for term in FrameBook.terms)
_IN_THE_TABLE = (*_OF_FRAMES[:-1], "kernel_dropped", _OF_FRAMES[-1])
_OF_RECORDS = tuple(term.name for term in RecordBook.terms)
_OF_DELIVERIES = tuple(term.name for term in DeliveryBook.terms if term.side != "part")


def add(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="print the whole document as JSON")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="print a page each second until Ctrl-C or the daemon's end; with --json a line",
    )
    parser.epilog = "Exit code: 0 ready, 1 not ready or no answer, 2 wrong usage."


def main(args: argparse.Namespace) -> int:
    """Returns 0 if the daemon is ready, else 1. Raises `EnvironmentFault` if no daemon answers."""
    if args.watch:
        _watch(place(args), as_json=args.json)
    status, body = fetch(place(args))
    if args.json:
        print(json.dumps(json.loads(body), indent=2))
    else:
        _show(status)
    return 0 if status.ready else 1


def _watch(path: Path, *, as_json: bool) -> NoReturn:
    """Print each event. Raises `EnvironmentFault` when the stream ends."""
    for body in events(path, "/status?watch=1", _WATCH_TIMEOUT_S):
        status = decoded(path, body)
        if as_json:
            print(json.dumps(json.loads(body)), flush=True)
            continue
        print(_CLEAR if sys.stdout.isatty() else "", end="")
        _show(status)
        print(end="" if sys.stdout.isatty() else "\n", flush=True)
    raise EnvironmentFault(
        f"{escape(str(path))} sends no more events: the daemon has ended, or this command read too slowly"
    )


def _show(status: StatusAnswer) -> None:
    from rich.console import Console  # noqa: PLC0415 - rich costs start-up time that only this page needs
    from rich.text import Text  # noqa: PLC0415

    console = Console(width=width_of(sys.stdout, _PLAIN_WIDTH), highlight=False)
    verdict = Text("ready", "bold green") if status.ready else Text("not ready", "bold red")
    head = f"streamd {status.version} · {status.phase} for {_span(status.uptime_s)} · run {status.run_id} · "
    console.print(Text(escape(plain(sys.stdout, head))) + verdict)
    console.print(Text(escape(f"config: {status.config}, loaded {_local(status.config_loaded_at)}"), "dim"))
    if (failure := status.reload_failure) is not None:
        console.print(
            Text(
                f"last reload failed {_local(failure.at)}, the daemon keeps the previous configuration:",
                "red",
            )
        )
        for line in failure.why:
            console.print(Text(f"  {escape(line)}", "red"))
    expected = ((line, "yellow") for line in _outlook.lines(status.outlook, status.limiting_step))
    for line, colour in (*((escape(reason), "red") for reason in status.reasons), *expected):
        console.print(Text(f"  {line}", colour))
    _table(
        console,
        ("source", "listening", "connections", *_headings(_IN_THE_TABLE), "buffer"),
        (
            (source.name, " ".join(source.listening), _number(source.connections),
             *_numbers(source.frames, *_IN_THE_TABLE),
             _fill(source.buffer))
            for source in status.sources
        ),
    )  # fmt: skip
    _table(
        console,
        ("pipeline", "source", *_headings(_OF_RECORDS)),
        ((line.name, line.source, *_numbers(line.records, *_OF_RECORDS)) for line in status.pipelines),
    )
    _table(
        console,
        ("sink", "state", *_headings(_OF_DELIVERIES), "buffer", "last commit", "p50", "p99"),
        (
            (sink.name, f"{sink.state} ({sink.reason})" if sink.reason else sink.state,
             *_numbers(_sum(sink.deliveries), *_OF_DELIVERIES),
             _fill(sink.buffer),
             "never" if sink.last_commit_age_s is None else f"{_span(sink.last_commit_age_s)} ago",
             _ms(sink.commit_latency_s.p50), _ms(sink.commit_latency_s.p99))
            for sink in status.sinks
        ),
    )  # fmt: skip
    if status.stages:
        _table(
            console,
            ("stage", "busy", "blocked", "idle", "under way"),
            (
                (f"{stage.kind} {stage.name}", f"{stage.recent.busy:.0%}", f"{stage.recent.blocked:.0%}",
                 f"{stage.recent.idle:.0%}", "" if stage.under_way is None else _number(stage.under_way))
                for stage in status.stages
            ),
        )  # fmt: skip
    console.print()
    counted = {f"step {step.pipeline} > {step.name}": step.notes for step in status.steps}
    counted |= {f"sink {sink.name}": sink.notes for sink in status.sinks}
    for line in (*_source_lines(status.sources), *counter_lines(counted), *_gauge_lines(status.steps)):
        console.print(Text(escape(line)))
    for source in status.sources:
        if source.certificate_expires_at is not None:
            expires_at = _local(source.certificate_expires_at)
            console.print(Text(f"source {escape(source.name)}: its certificate expires {expires_at}"))
    letters = ", ".join(f"{_number(n)} {fate}" for fate, n in status.dead_letters.items() if n)
    console.print(Text(f"dead letters: {escape(letters) or 'none'}"))
    if not status.imbalances:
        console.print(Text("the books balance"))
    for imbalance in status.imbalances:
        console.print(Text(f"the books do not balance: {escape(imbalance)}", "red"))


def _gauge_lines(steps: Iterable[StepStatus]) -> Iterator[str]:
    """A line for each step with gauges."""
    for step in steps:
        values = [
            f"{' '.join(filter(None, (gauge.replace('_', ' '), name)))} {value:.4g}"
            for gauge, its in step.gauges.items()
            for name, value in (its if isinstance(its, dict) else {"": its}).items()
        ]
        if values:
            yield f"step {step.pipeline} > {step.name}: {', '.join(values)}"


def _source_lines(sources: Iterable[SourceStatus]) -> Iterator[str]:
    """A line for each source with counters above zero that are not in the table, except connections."""
    for source in sources:
        noted = "; ".join(
            with_reasons(name.replace("_", " "), (n if isinstance(n, dict) else {"": n}).items())
            for name, n in source.frames.items()
            if n and name not in _IN_THE_TABLE and name != "connections"
        )
        if noted:
            yield f"source {source.name}: {noted}"


def _local(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _table(console: "rich.console.Console", names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table. If it is too wide, columns that are empty or zero in every row are left out."""
    from rich.text import Text  # noqa: PLC0415

    shown = [[escape(cell) for cell in row] for row in rows]
    kept = list(range(len(names)))
    if max(map(len, laid_out(names, shown, _right(names), _WITHOUT_END)), default=0) > console.width:
        kept = [i for i in kept if i == 0 or any(row[i] not in _EMPTY for row in shown)]
    names, shown = [names[i] for i in kept], [[row[i] for i in kept] for row in shown]
    console.print()
    for line in laid_out(names, shown, _right(names), console.width):
        console.print(Text(line), soft_wrap=True)


def _right(names: Sequence[str]) -> list[bool]:
    return [name not in _TEXTS for name in names]


def _headings(counters: Iterable[str]) -> list[str]:
    return [counter.replace("kernel_dropped", "kernel_drops").replace("_", " ") for counter in counters]


def _total(book: Book, counter: str) -> int:
    value = book.get(counter, 0)
    return sum(value.values()) if isinstance(value, dict) else value


def _sum(deliveries: list[DeliveryStatus]) -> Book:
    names = {name for delivery in deliveries for name in delivery.records}
    return {name: sum(_total(delivery.records, name) for delivery in deliveries) for name in names}


def _numbers(book: Book, *counters: str) -> list[str]:
    return [_number(_total(book, counter)) for counter in counters]


def _number(n: int) -> str:
    return f"{n:,}"


def _fill(buffer: BufferStatus | None) -> str:
    if buffer is None:
        return ""
    share = max(buffer.records / max(1, buffer.max_records), buffer.bytes / max(1, buffer.max_bytes))
    return f"{share:.0%}"


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:,.1f} ms"


def _span(seconds: float) -> str:
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:,.1f} {unit}"
    return f"{seconds:,.1f} s"
