"""`streamd capacity --sheet`: the machines that rates need, as a table and as JSON."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

from streamd.admin.client import place
from streamd.bench.child import family_cpu_s
from streamd.capacity import sheet_measured
from streamd.capacity.scenario import parse_over
from streamd.capacity.sheet import MODEL, SheetColumn, SheetPart, column
from streamd.capacity.sheet_figures import DECLARED, SheetFigure, completed, parse_figure
from streamd.charts.screen import plain
from streamd.cli._layout import folded, laid_out, width_of
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.printable import escape, printable

RATES = ("10000/s", "100000/s", "1000000/s", "10000000/s", "100000000/s")
_REFUSED = ("rate", "stall", "burst", "step_cost", "for_s", "ledger", "since", "frame_size", "output")
_PLAIN_WIDTH = 110
_MOST_PER_S = 1e12
_RATE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)([kMG]?)/s", re.ASCII)
_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_THOUSAND = 1000.0


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    group = parser.add_argument_group("a sheet instead of a scenario")
    group.add_argument("--sheet", nargs="*", metavar="RATE",
                       help="processes, partitions, bytes and machines for these rates, like 50000/s or"
                       " 10M/s (default: 10,000/s to 100,000,000/s), from --bench FILE or the running"
                       " daemon")  # fmt: skip
    group.add_argument("--figure", action="append", default=[], metavar="NAME=VALUE",
                       help="a figure of the sheet, like machine_cores=32 or record_bytes=300; the sheet"
                       " names all of them; may be repeated")  # fmt: skip


def is_wanted(options: argparse.Namespace) -> bool:
    """Whether the sheet is asked for. Raises `ConfigError` for options that do not belong together."""
    if options.sheet is None:
        if options.figure:
            raise ConfigError("--figure is a figure of a sheet: add --sheet")
        return False
    if other := next((name for name in _REFUSED if getattr(options, name) not in (None, [])), None):
        shown = "for" if other == "for_s" else other.replace("_", "-")
        raise ConfigError(f"--{shown} belongs to a scenario, and --sheet is none: leave one of them out")
    return True


def main(options: argparse.Namespace) -> int:
    """Print the sheet. Returns 0. Raises `ConfigError` and `EnvironmentFault`."""
    rates_per_s = [_rate_per_s(text) for text in options.sheet or RATES]
    given = [parse_figure(text) for text in options.figure]
    figures = completed(_measured(options, dict(given)), given)
    values = {name: figure.value for name, figure in figures.items()}
    columns = [column(values, rate) for rate in rates_per_s]
    if options.json:
        print(json.dumps(_document(columns, figures), indent=1))
    else:
        _show(columns, figures)
    return 0


def _rate_per_s(text: str) -> float:
    found = _RATE.fullmatch(text)
    rate_per_s = float(found[1]) * _PREFIXES[found[2]] if found else 0.0
    if not 0 < rate_per_s <= _MOST_PER_S:
        raise ConfigError(
            f"--sheet {printable(text)}: not a rate like 50000/s or 10M/s, of at most {_MOST_PER_S:,.0f}/s"
        )
    return rate_per_s


def _measured(options: argparse.Namespace, given: Mapping[str, SheetFigure]) -> dict[str, SheetFigure]:
    """The figures of the benchmark or of the running daemon; none if the user has given all costs."""
    from streamd.cli import _observation, _past  # noqa: PLC0415 - they load every component

    if options.bench is not None:
        if options.socket is not None:
            raise ConfigError("--socket names a running daemon; --bench needs none")
        return sheet_measured.from_bench(_past.read(options.bench), printable(options.bench))
    if "single_cpu_s_per_million" in given:
        return {}
    over_s = parse_over(options.over)
    found = _observation.observation(place(options), over_s, family_cpu_s)
    if found.cpu_s is None or found.config is None:
        raise EnvironmentFault(
            "the CPU time or the configuration of the daemon cannot be seen by this user: ask as its user, or"
            " use --bench FILE.json of `streamd bench --json FILE.json`"
        )
    types = ({one.type for one in part.values()} for part in (found.config.sources, found.config.sinks))
    return sheet_measured.from_daemon(found.seen, found.cpu_s, *types)


def _document(columns: Sequence[SheetColumn], figures: Mapping[str, SheetFigure]) -> dict[str, object]:
    return {
        "rates": [asdict(one) for one in columns],
        "figures": {name: asdict(one) for name, one in figures.items()},
        "not_measured": _not_measured(figures),
        "assumed": list(MODEL),
    }


def _not_measured(figures: Mapping[str, SheetFigure]) -> list[str]:
    """The names of the figures that are only assumed."""
    return [name for name, one in figures.items() if one.origin == "assumed"]


def _show(columns: Sequence[SheetColumn], figures: Mapping[str, SheetFigure]) -> None:
    width = width_of(sys.stdout, _PLAIN_WIDTH)

    def show(lines: Iterator[str]) -> None:
        for line in lines:
            print(plain(sys.stdout, line))

    names = ["", *(f"{one.records_per_s:,.0f}/s" for one in columns)]
    rows = [[name, *map(cell, columns)] for name, cell in _ROWS]
    show(laid_out(names, rows, [False, *(True for _ in columns)], width))
    print()
    meanings = {one.name: one.meaning for one in DECLARED}
    cells = [
        [
            name,
            f"{one.value:,.6g}",
            escape(f"{one.origin}: {one.why}" if one.why else one.origin),
            meanings[name],
        ]
        for name, one in figures.items()
    ]
    show(laid_out(["figure", "value", "from", "meaning"], cells, [False, True, False, False], width))
    print()
    count = len(_not_measured(figures))
    show(
        folded(
            f"{count} of {len(figures)} figures are assumed; --figure NAME=VALUE gives another one.", width, 2
        )
    )
    print()
    print("assumed:")
    for line in MODEL:
        show(folded(f"- {line}", width, 2))


def _one_machine(one: SheetColumn) -> str:
    return "yes" if one.one_machine.holds else f"no ({one.one_machine.limit})"


def _machines(part: SheetPart) -> str:
    return f"{part.machines:,} ({part.limit})" if part.machines > 1 else f"{part.machines:,}"


def _size(number: float) -> str:
    """Bytes with three digits and a decimal unit."""
    unit = 0
    while number >= _THOUSAND - 0.5 and unit + 1 < len(_UNITS):
        number, unit = number / _THOUSAND, unit + 1
    return f"{number:.3g} {_UNITS[unit]}"


_ROWS: tuple[tuple[str, Callable[[SheetColumn], str]], ...] = (
    ("one machine: holds", _one_machine),
    ("one machine: processes", lambda one: f"{one.one_machine.processes:,}"),
    ("one machine: SQLite a day", lambda one: _size(one.sqlite_bytes_per_day)),
    ("edge: processes", lambda one: f"{one.edge.processes:,}"),
    ("edge: machines", lambda one: _machines(one.edge)),
    ("JetStream: machines", lambda one: _machines(one.jetstream)),
    ("JetStream: streams", lambda one: f"{one.streams:,}"),
    ("JetStream: partitions", lambda one: f"{one.partitions:,}"),
    ("JetStream: written a day", lambda one: _size(one.jetstream_bytes_per_day)),
    ("JetStream: held", lambda one: _size(one.jetstream_held_bytes)),
    ("worker: processes", lambda one: f"{one.worker.processes:,}"),
    ("worker: machines", lambda one: _machines(one.worker)),
    ("PostgreSQL: machines", lambda one: _machines(one.postgresql)),
    ("PostgreSQL: rows a day", lambda one: _size(one.postgresql_bytes_per_day)),
    ("PostgreSQL: held", lambda one: _size(one.postgresql_held_bytes)),
    ("or Parquet: machines", lambda one: f"{one.parquet_machines:,}"),
    ("or Parquet: files a day", lambda one: _size(one.parquet_bytes_per_day)),
    ("or Parquet: held", lambda one: _size(one.parquet_held_bytes)),
    ("network: received a day", lambda one: _size(one.received_bytes_per_day)),
    ("network: all links a day", lambda one: _size(one.network_bytes_per_day)),
    ("machines with PostgreSQL", lambda one: f"{one.machines_with_postgresql:,}"),
    ("machines with Parquet", lambda one: f"{one.machines_with_parquet:,}"),
)
