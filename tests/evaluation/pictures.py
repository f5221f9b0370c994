"""The pictures of the page: SVG, the same bytes for the same figures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from tests.evaluation.detectors import results
from tests.evaluation.rows import Row
from tests.evaluation.series import Series

_BLUE, _BAND, _RED, _ORANGE = "#1f5fa8", "#c9dcf0", "#c8202f", "#e08a00"
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "streamd", "font.family": "sans-serif", "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False, "figure.facecolor": "white",
    "path.simplify": True, "path.simplify_threshold": 0.3,
}  # fmt: skip

FEWEST_EVENTS = 10
"""With fewer events, shares say nothing that the table does not."""


def draw(name: str, series: Series, rows: list[Row], folder: Path) -> None:
    """Write the pictures of a series into the folder."""
    with plt.rc_context(_STYLE):  # type: ignore[arg-type]  # it takes any known keys
        if rows[0].outcome.events >= FEWEST_EVENTS:
            _save(_shares(rows), folder / f"anomalies-{name}-shares.svg")
        if name in _EXCERPTS:
            _save(_EXCERPTS[name](series, rows), folder / f"anomalies-{name}.svg")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def _shares(rows: list[Row]) -> Any:
    """Precision and recall of each row, and those of random flags at the same rate."""
    figure, axes = plt.subplots(figsize=(7, 0.9 + 0.27 * len(rows)), layout="constrained")
    places = range(len(rows))[::-1]
    axes.set_yticks(list(places), [row.detector.replace("`", "") for row in rows])
    for place, row in zip(places, rows, strict=True):
        axes.axhline(place, color="#eeeeee", linewidth=0.8, zorder=0)
        points = [
            (row.outcome.recall, 0.13, "o", _BLUE, 38),
            (row.outcome.precision, -0.13, "D", _ORANGE, 30),
        ]
        if row.at_random is not None:
            points += [
                (row.at_random.recall, 0.13, "o", "#bbbbbb", 16),
                (row.at_random.precision, -0.13, "D", "#bbbbbb", 14),
            ]
        for share, above, marker, colour, size in points:
            if share is not None:
                axes.scatter(share, place + above, marker=marker, c=colour, s=size, clip_on=False, zorder=3)
    for label, marker, colour in (
        ("recall", "o", _BLUE), ("precision", "D", _ORANGE), ("random, same rate", "s", "#bbbbbb"),
    ):  # fmt: skip
        axes.scatter([], [], marker=marker, c=colour, s=24, label=label)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("share of events (recall) or of alarms (precision)")
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return figure


def _of(rows: Sequence[Row], detector: str) -> Row:
    return next(row for row in rows if row.detector == detector)


def _line(
    axes: Any, series: Series, row: Row, places: Sequence[int], unit_s: float, top: tuple[float, float]
) -> None:
    """Values, band, labels and flags of some records of one key."""
    field = row.options["field"]
    told = results(series, row.options, len(series.records))
    began_s = series.records[places[0]]["at"]
    numbered = [place for place in places if isinstance(told[place][field], int | float)]
    x = [(series.records[place]["at"] - began_s) / unit_s for place in numbered]
    y = [min(max(told[place][field], top[0]), top[1]) for place in numbered]
    banded = [place for place in numbered if told[place]["anomaly_low"] is not None]
    axes.fill_between(
        [(series.records[place]["at"] - began_s) / unit_s for place in banded],
        [min(max(told[place]["anomaly_low"], top[0]), top[1]) for place in banded],
        [min(max(told[place]["anomaly_high"], top[0]), top[1]) for place in banded],
        color=_BAND, linewidth=0, label="band",
    )  # fmt: skip
    axes.plot(x, y, color=_BLUE, linewidth=0.8, label="value")
    for label, chosen, look in (
        ("labelled", series.labels, {"marker": "o", "s": 34, "facecolors": "none", "edgecolors": _RED}),
        ("flagged", [record["anomaly"] for record in told], {"marker": "x", "s": 22, "c": "black"}),
    ):
        shown = [n for n, place in enumerate(numbered) if chosen[place]]
        axes.scatter(
            [x[n] for n in shown], [y[n] for n in shown], linewidth=1.0, zorder=3, label=label, **look
        )
    axes.set_ylim(*top)
    axes.set_title(row.detector.replace("`", ""), loc="left", fontsize=9)


def _compared(
    series: Series, rows: Sequence[Row], detectors: Sequence[str], places: Sequence[int],
    unit_s: float, labels: tuple[str, str], top: tuple[float, float],
) -> Any:  # fmt: skip
    figure, all_axes = plt.subplots(
        len(detectors), 1, figsize=(7.5, 0.6 + 1.9 * len(detectors)), sharex=True, layout="constrained"
    )
    for axes, detector in zip(all_axes, detectors, strict=True):
        _line(axes, series, _of(rows, detector), places, unit_s, top)
        axes.set_ylabel(labels[1])
    all_axes[-1].set_xlabel(labels[0])
    figure.legend(
        *all_axes[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=4,
        frameon=False,
        fontsize=8,
    )
    return figure


def _plant(series: Series, rows: Sequence[Row]) -> Any:
    """An hour of the sensor with most unusual readings in Fahrenheit."""
    half = series.second_half
    sensors = sorted({record["sensor"] for record in series.records})
    sensor = max(
        sensors,
        key=lambda name: sum(
            series.kinds[place] == "fahrenheit" and series.records[place]["sensor"] == name for place in half
        ),
    )
    places = [place for place in half if series.records[place]["sensor"] == sensor][:360]
    detectors = ("`ewma`, defaults", "`hampel`, defaults")
    return _compared(series, rows, detectors, places, 60.0, ("minutes", "°C, cut at 90"), (-10, 90))


def _leaks(series: Series, rows: Sequence[Row]) -> Any:
    detectors = ("`seasonal`, defaults", "`seasonal`, learns inside")
    places = list(series.second_half)[:336]
    return _compared(series, rows, detectors, places, 86400.0, ("days", "l/s (cut at 95)"), (95, 110))


def _bleeding(series: Series, rows: Sequence[Row]) -> Any:
    detectors = ("`ewma`, defaults", "`seasonal`, defaults")
    event = series.labels.index(True)
    places = range(event - 370, event + 330)
    return _compared(series, rows, detectors, places, 1.0, ("records", "value"), (40, 120))


_EXCERPTS: dict[str, Callable[[Series, Sequence[Row]], Any]] = {
    "plant": _plant,
    "leaks": _leaks,
    "bleeding": _bleeding,
}
