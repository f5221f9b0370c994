"""Charts as a PNG or SVG file, drawn by matplotlib."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamd.charts import scale
from streamd.charts.chart import Chart, ChartSeries, is_known, stacked, y_values
from streamd.charts.x_axis import caption, x_scale
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.printable import escape, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")
_WIDTH_IN = 9.0
_HEIGHT_IN = 4.0
_BAR_IN = 0.3
_MARGIN = 0.01
"""The room for the width of a line at the ends of an axis, as a share of its length."""
_MOST_HEIGHT_IN = 200.0
_LONGEST = 80
"""Characters of a title. A longer one is cut."""
_LONGEST_NAME = 24
"""Characters of a name in the legend or of a category, which take their room from the chart."""
_COLOURS = (
    "#0072b2", "#e69f00", "#cc79a7", "#009e73", "#56b4e9", "#d55e00", "#7f7f7f", "#f0e442",
    "#332288", "#882255", "#44aa99", "#999933",
)  # fmt: skip
"""The first eight are of Okabe and Ito, the others of Tol: palettes made for colour-blind readers."""
_RC: Any = {
    "text.parse_math": False,  # a `$` in a name is no formula
    "svg.hashsalt": "streamd",  # the same chart gives the same file
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def check(path: Path) -> None:
    """Raises `ConfigError` for a name of another format, and `EnvironmentFault` if matplotlib is missing."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{escape(str(path))}: a chart is written as .png or .svg")
    try:
        import matplotlib as mpl  # noqa: F401, PLC0415 - an extra, and half a second
    except ImportError:
        raise EnvironmentFault(
            "charts as files need the package matplotlib: pip install 'streamd-daemon[plots]'"
        ) from None


def save(charts: Sequence[Chart], path: Path, image_format: str | None = None) -> None:
    """Write the charts below each other into one file, whose suffix (or `image_format`) chooses the format.

    Raises the errors of `check`, and OSError.
    """
    chosen = image_format or path.suffix.lower().removeprefix(".")
    check(Path(f"chart.{chosen}"))
    import matplotlib as mpl  # noqa: PLC0415 - an extra, and half a second
    from matplotlib.figure import Figure  # noqa: PLC0415 - the same

    heights = [_height_in(chart) for chart in charts]
    with mpl.rc_context(_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # shown as an empty box
        figure = Figure(figsize=(_WIDTH_IN, sum(heights)), layout="constrained", dpi=120)
        rows: Any = figure.subplots(len(charts), squeeze=False, height_ratios=heights)
        for chart, (axes,) in zip(charts, rows, strict=True):
            _draw(chart, axes)
        metadata = {"Date": None} if chosen == "svg" else None
        figure.savefig(path, format=chosen, metadata=metadata)


def _height_in(chart: Chart) -> float:
    if chart.form != "bars":
        return _HEIGHT_IN
    return min(_MOST_HEIGHT_IN, 1.0 + _BAR_IN * len(chart.categories) * max(1, len(chart.series)))


def _words(text: str, most: int = _LONGEST_NAME) -> str:
    return shortened(escape(text), most)


def _draw(chart: Chart, axes: "Axes") -> None:
    """Draw on axes from 0 to 1. Our own scales place the values: matplotlib fails on huge and tiny ranges."""
    axes.set_title(_words(chart.title, _LONGEST), loc="left")
    handles = _bars(chart, axes) if chart.form == "bars" else _over_x(chart, axes)
    names = [_words(one.label) for one in chart.series]
    names += [f"{_words(limit.label)} {scale.number_text(limit.at)}" for limit in chart.limits]
    if len(names) > 1:
        axes.legend(handles, names, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _over_x(chart: Chart, axes: "Axes") -> list[Any]:
    y = scale.of_numbers(y_values(chart), 6, from_zero=chart.form == "areas")
    x = x_scale(chart, 7)
    handles = _areas(chart, axes, x, y) if chart.form == "areas" else _lines(chart, axes, x, y)
    for limit in chart.limits:
        at = y.share(limit.at) if is_known(limit.at) else -1
        handles.append(axes.axhline(at, color="#555555", linestyle="--", linewidth=1))
    axes.set(xlim=(-_MARGIN, 1 + _MARGIN), ylim=(-_MARGIN, 1 + _MARGIN))
    axes.set_xticks([tick.at for tick in x.ticks], [tick.text for tick in x.ticks])
    axes.set_yticks([tick.at for tick in y.ticks], [tick.text for tick in y.ticks])
    axes.set_xlabel(_words(caption(chart), _LONGEST))
    axes.set_ylabel(_words(chart.y_label or (chart.series[0].label if len(chart.series) == 1 else "")))
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    return handles


def _lines(chart: Chart, axes: "Axes", x: scale.Scale, y: scale.Scale) -> list[Any]:
    handles: list[Any] = []
    for number, one in enumerate(chart.series):
        places = [x.share(at) for at in (chart.x if one.x is None else one.x)]
        heights = [y.share(v) if v is not None and is_known(v) else float("nan") for v in one.values]
        colour = _COLOURS[number % len(_COLOURS)]
        handles += axes.plot(places, heights, color=colour, linewidth=1.4)
        alone = _alone(one)
        axes.plot([places[at] for at in alone], [heights[at] for at in alone], ".", color=colour)
    return handles


def _alone(one: ChartSeries) -> list[int]:
    """The positions of values without a neighbour, which a line would not show."""
    seen = [False, *(value is not None and is_known(value) for value in one.values), False]
    return [at - 1 for at in range(1, len(seen) - 1) if seen[at] and not seen[at - 1] and not seen[at + 1]]


def _areas(chart: Chart, axes: "Axes", x: scale.Scale, y: scale.Scale) -> list[Any]:
    handles: list[Any] = []
    places = [x.share(at) for at in chart.x]
    below = [0.0] * len(places)
    for number, edge in enumerate(stacked(chart.series)):
        above = [y.share(value) for value in edge]
        colour = _COLOURS[number % len(_COLOURS)]
        handles.append(axes.fill_between(places, below, above, color=colour, linewidth=0))
        below = above
    return handles


def _bars(chart: Chart, axes: "Axes") -> list[Any]:
    ends = scale.of_numbers(y_values(chart), 6, from_zero=True, round_ends=False)
    zero, handles = ends.share(0.0), []
    thick = 0.8 / max(1, len(chart.series))
    for number, one in enumerate(chart.series):
        at = [place + (number - (len(chart.series) - 1) / 2) * thick for place in range(len(one.values))]
        widths = [ends.share(v) - zero if v is not None and is_known(v) else 0.0 for v in one.values]
        handles.append(axes.barh(at, widths, thick, left=zero, color=_COLOURS[number % len(_COLOURS)]))
    axes.set_yticks(range(len(chart.categories)), [_words(name) for name in chart.categories])
    axes.set_xticks([tick.at for tick in ends.ticks], [tick.text for tick in ends.ticks])
    axes.set(xlim=(0, 1), ylim=(len(chart.categories) - 0.5, -0.5) if chart.categories else (0, 1))
    axes.set_ylabel(_words(chart.x_label))
    axes.set_xlabel(_words(chart.y_label or (chart.series[0].label if len(chart.series) == 1 else "")))
    return handles
