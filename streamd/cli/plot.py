"""`streamd plot`: draws the result of a query, in the terminal or as a PNG or SVG file."""

import argparse
import itertools
import sys
from pathlib import Path

from streamd.charts import image
from streamd.charts.of_rows import chart_of
from streamd.charts.screen import screen_of
from streamd.charts.terminal import text
from streamd.cli._standard_streams import argument
from streamd.cli._table import distinct, text_of
from streamd.cli.query import add_statement, answer, whole

MOST_ROWS = 1_000_000
"""All rows of a chart are in memory."""


def add(parser: argparse.ArgumentParser) -> None:
    add_statement(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write FILE.png or FILE.svg, with matplotlib; default: draw in the terminal",
    )
    parser.add_argument(
        "--x",
        type=argument,
        metavar="COLUMN",
        help="the x axis; default: the first column of times, else the first",
    )
    parser.add_argument(
        "--by", type=argument, metavar="COLUMN", help="draw a series for each value of this column"
    )
    parser.add_argument(
        "--form", choices=["lines", "areas", "bars"], help="default: bars for texts at x, else lines"
    )
    parser.add_argument("--title", type=argument, default="", metavar="TEXT", help="a title above the chart")
    parser.epilog = (
        "Each column with numbers is a series. NULL is a gap. Times are UTC. A file needs the extra:"
        " pip install 'streamd-daemon[plots]'."
    )


def main(options: argparse.Namespace) -> int:
    """Draw the chart. Raises `ConfigError` if the rows cannot be drawn, and the errors of `streamd query`."""
    if options.output is not None:
        image.check(options.output)
    with answer(options) as (columns, rows):
        found = list(itertools.islice(rows, MOST_ROWS))
        is_cut = next(rows, None) is not None
    if is_cut:
        _note(f"only the first {MOST_ROWS:,} rows are drawn: aggregate in SQL, such as by minute")
    drawn = chart_of(
        distinct(columns), found, text_of, x=options.x, by=options.by, form=options.form, title=options.title
    )
    for note in drawn.notes:
        _note(note)
    if options.output is None:
        sys.stdout.writelines(f"{line}\n" for line in text(drawn.chart, screen_of(sys.stdout)))
        return 0
    with whole(options.output) as path:
        image.save([drawn.chart], path, options.output.suffix.lower().removeprefix("."))
    return 0


def _note(text: str) -> None:
    print(f"streamd: {text}", file=sys.stderr)
