"""`streamd capacity`: what another load, a stall or a burst would do, and which settings hold it."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from streamd.admin.client import add_place, place
from streamd.capacity import scenario
from streamd.capacity.figures import Figures
from streamd.capacity.pictures import charts_of
from streamd.capacity.prediction import CapacityPrediction, predict
from streamd.charts import image
from streamd.charts.chart import Chart
from streamd.charts.screen import plain, screen_of
from streamd.charts.terminal import text
from streamd.cli import _sheet
from streamd.cli._layout import folded, width_of
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.printable import escape

_PLAIN_WIDTH = 100
_MIB = 2**20
_CHART_LINES = 14


def add(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("--rate", action="append", default=[], metavar="[SOURCE=]RATE",
                        help="another load: a multiple like ×2 (or x2), or a rate like 50000/s; may be"
                        " repeated for several sources")  # fmt: skip
    parser.add_argument("--stall", action="append", default=[], metavar="SINK=TIME[@BEGIN]",
                        help="a sink that writes nothing for a time, like readings=30s or readings=30s@60s;"
                        " may be repeated")  # fmt: skip
    parser.add_argument("--burst", action="append", default=[], metavar="[SOURCE=]N[/TIME][@BEGIN]",
                        help="so many frames more, like 200000 (within a second), 200000/10s or 200000@60s;"
                        " may be repeated")  # fmt: skip
    parser.add_argument(
        "--step-cost", metavar="TIME", help="the steps cost so much more for each record: +5us"
    )
    parser.add_argument("--for", dest="for_s", metavar="TIME",
                        help="length of the scenario (default 10m, or that of the history)")  # fmt: skip
    parser.add_argument("--over", default="5s", metavar="TIME",
                        help="how long to observe the running daemon (default %(default)s)")  # fmt: skip
    parser.add_argument("--ledger", nargs="?", const="", metavar="FILE",
                        help="take loads and speed from the ledger instead: that of the configuration, or"
                        " FILE")  # fmt: skip
    parser.add_argument("--since", metavar="TIME",
                        help="the history in the ledger since TIME: 1h (ago; default 1d) or an RFC 3339"
                        " time")  # fmt: skip
    parser.add_argument("--bench", metavar="FILE",
                        help="take the speed from the result of `streamd bench --json FILE`; needs --rate or"
                        " --ledger for the load")  # fmt: skip
    parser.add_argument("--frame-size", metavar="SIZE",
                        help="memory of a frame, if none waits while the daemon is observed")  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="FILE", help="draw the charts into a PNG or SVG file")
    parser.add_argument("--json", action="store_true", help="print the whole answer as a JSON document")
    _sheet.add(parser)
    parser.epilog = (
        "Exit code: 0 nothing is lost, 1 records are or may be lost or no answer is possible, 2 wrong usage."
        " A sheet ends with 0."
    )


def main(options: argparse.Namespace) -> int:
    """Returns 0 if surely nothing is lost, else 1. Raises `ConfigError`, or `EnvironmentFault`."""
    if _sheet.is_wanted(options):
        return _sheet.main(options)
    wanted = _scenario(options)
    if options.output is not None:
        image.check(options.output)
    figures, length_s = _figures(options)
    if options.for_s is None and length_s is not None:
        wanted = replace(wanted, for_s=length_s)
    record_s = max(line.process_s / (line.records_per_frame or 1.0) for line in figures.lines)
    wanted.check([one.name for one in figures.sources], list(figures.sinks), record_s)
    found = predict(figures, wanted)
    charts = charts_of(found)
    if options.output is not None:
        try:
            image.save(charts, options.output)
        except OSError as error:
            shown = escape(str(options.output))
            raise EnvironmentFault(f"cannot write {shown}: {error.strerror or error}") from None
    if options.json:
        print(json.dumps(found.document(), indent=1))
    else:
        _show(found, charts)
    return 0 if found.is_safe else 1


def _scenario(options: argparse.Namespace) -> scenario.Scenario:
    return scenario.Scenario(
        for_s=scenario.parse_for("10m" if options.for_s is None else options.for_s),
        rates=tuple(map(scenario.parse_rate, options.rate)),
        stalls=tuple(map(scenario.parse_stall, options.stall)),
        bursts=tuple(map(scenario.parse_burst, options.burst)),
        step_cost_s=0.0 if options.step_cost is None else scenario.parse_step_cost(options.step_cost),
    )


def _figures(options: argparse.Namespace) -> tuple[Figures, float | None]:
    """The figures, and the length of the history that they come from in seconds, if they do."""
    from streamd.cli import _observation, _past  # noqa: PLC0415 - they load every component

    over_s = scenario.parse_over(options.over)
    frame_bytes = None if options.frame_size is None else scenario.parse_frame_size(options.frame_size)
    for option, value in (("--since", options.since), ("--bench", options.bench)):
        if value == "":
            raise ConfigError(f'{option} "": the value is empty')
    if (options.ledger, options.since, options.bench) != (None, None, None):
        if options.socket is not None:
            raise ConfigError("--socket names a running daemon; --ledger, --since and --bench need none")
        return _past.from_files(options.config, options.ledger, options.since, options.bench, frame_bytes)
    return _observation.observed(place(options), over_s, frame_bytes), None


def _show(found: CapacityPrediction, charts: Sequence[Chart]) -> None:
    width = width_of(sys.stdout, _PLAIN_WIDTH)
    screen = replace(screen_of(sys.stdout), height=_CHART_LINES)

    def show(line: str) -> None:
        print(*folded(plain(sys.stdout, line), width, 2), sep="\n")

    show(escape(found.sentence))
    print()
    show(f"scenario: {escape(found.scenario.words)}")
    for chart in charts:
        print()
        print(*(plain(sys.stdout, line) for line in text(chart, screen)), sep="\n")
    for part in _lines(found):
        show(part)


def _lines(found: CapacityPrediction) -> Iterator[str]:
    overloaded = bool(found.overloaded)
    for number, one in enumerate(found.suggestions, 1):
        verdict = "holds" if one.holds else "does not hold by itself"
        if one.holds and one.memory_bytes and overloaded:  # no buffer holds such a load for good
            verdict = "holds for the time of the scenario"
        memory = f", takes {one.memory_bytes / _MIB:,.1f} MiB" if one.memory_bytes else ""
        yield ""
        yield f"suggestion {number}: {escape(one.what)} ({verdict}{memory})"
        yield from (f"    {escape(line)}" for line in one.toml.splitlines())
    yield ""
    yield "assumed:"
    yield from (f"- {escape(line)}" for line in found.assumed)
