"""Measures the steps `anomaly` and `drift` on labelled series: `make evaluate`.

It prints a table for each series, and with --write puts the tables and pictures into the page of the
documentation. The files of river are in its package; the wheel of aeon is downloaded into .peers.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.evaluation import datasets, drifts, page, pictures
from tests.evaluation.change_series import change_series
from tests.evaluation.rows import Row, all_rows, seasonal_rows
from tests.evaluation.series import Series

CLEAN, NOISE, DRIFT = "clean", "noise", "drift"
"""Tables of one method only, of noise, and of the step `drift`."""


def sources(folder: Path) -> dict[str, Callable[[], Series]]:
    """The series by their short names."""
    return {
        "plant": datasets.plant,
        CLEAN: datasets.plant_with_a_clean_season,
        "flow": datasets.water_flow,
        "leaks": datasets.water_flow_with_leaks,
        "shuttle": datasets.shuttle,
        "bleeding": lambda: datasets.internal_bleeding(datasets.aeon_wheel(folder)),
        "daphnet": lambda: datasets.daphnet(datasets.aeon_wheel(folder)),
    }


def blocks(name: str, series: Series, rows: list[Row]) -> dict[str, list[str]]:
    """The tables of a series by the names of their blocks in the page."""
    found = {name: page.table(series, rows)}
    if series.kinds and name != CLEAN:
        found[f"{name} by kind"] = page.kinds_table(rows)
    return found


def drift_blocks() -> dict[str, list[str]]:
    """The tables of the step `drift`."""
    all_series = list(change_series())
    rows = list(drifts.all_rows(all_series))
    names = [series.name for series in all_series]
    return {DRIFT: page.changes_table(rows), f"{DRIFT} by series": page.changes_by_series(names, rows)}


def tell(title: str, lines: list[str], *, write: bool) -> None:
    """Print a table, and put it into the page."""
    print(f"\n{title}\n", *lines, sep="\n")
    if write:
        text = page.PAGE.read_text(encoding="utf-8")
        page.PAGE.write_text(page.with_block(text, title, lines), encoding="utf-8")


def main() -> int:
    """Measure, print and perhaps write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="SERIES", choices=[*sources(Path()), NOISE, DRIFT])
    parser.add_argument("--write", action="store_true", help="write tables and pictures into docs")
    parser.add_argument(
        "--folder", type=Path, default=Path(".peers/evaluation"), metavar="DIR", help="for aeon's wheel"
    )
    parser.add_argument("--fetch", action="store_true", help="only download the wheel")
    options = parser.parse_args()
    if options.fetch:
        print(datasets.aeon_wheel(options.folder))
        return 0
    faults = 0
    for name, make in sources(options.folder).items():
        if options.only and name not in options.only:
            continue
        began_s = time.process_time()
        try:
            series = make()
        except datasets.MissingData as why:
            print(f"{name}: {why}", file=sys.stderr)
            faults += 1
            continue
        rows = list(seasonal_rows(series) if name == CLEAN else all_rows(series))
        for title, lines in blocks(name, series, rows).items():
            tell(title, lines, write=options.write)
        if options.write and name != CLEAN:
            pictures.draw(name, series, rows, page.PAGE.parent)
        print(f"\n({time.process_time() - began_s:.0f} s of CPU)", file=sys.stderr)
    if not options.only or NOISE in options.only:
        tell(NOISE, page.noise_table(), write=options.write)
    if not options.only or DRIFT in options.only:
        for title, lines in drift_blocks().items():
            tell(title, lines, write=options.write)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
