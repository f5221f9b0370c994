"""A chart as lines of text.

Own code, because neither library for the terminal fits: plotext has no types, keeps one figure for the whole
process and changed its calls with version 6; plotille has no types and no stacked areas, and fails on NaN.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from streamd.charts import bars, scale
from streamd.charts.canvas import DIM, Canvas, colour_of, mark_of, painted, shade_of
from streamd.charts.chart import Chart, is_known, stacked, y_values
from streamd.charts.screen import Screen
from streamd.charts.x_axis import caption, x_scale
from streamd.core.printable import cells, escape, shortened

_ROWS_PER_TICK = 3
_LEAST_ROWS = 4
_LEAST_COLUMNS = 10
_TICK_COLUMNS = 12
"""Columns of the x axis for each tick at least."""


def text(chart: Chart, screen: Screen) -> list[str]:
    """The lines of the chart, none wider than `screen.width`. Titles and labels are escaped.

    Bars take as many lines as there are categories. Other forms take `screen.height` lines,
    at least about ten.
    """
    names = [escape(one.label) for one in chart.series]
    heads = [shortened(escape(head), screen.width) for head in (chart.title, chart.y_label) if head]
    if chart.form == "bars":
        shown = [*heads, *bars.rows(_escaped(chart), screen)]
        return [*shown, *_legend(chart, names, screen)] if len(names) > 1 else shown
    legend = list(_legend(chart, names, screen))
    words = shortened(caption(chart), screen.width)
    foot = [" " * (screen.width - cells(words)) + words] if words else []
    rows = max(_LEAST_ROWS, screen.height - len(heads) - len(legend) - len(foot) - 2)
    return [*heads, *_framed(chart, screen, rows), *foot, *legend]


def _escaped(chart: Chart) -> Chart:
    return Chart(chart.series, categories=[escape(name) for name in chart.categories], form="bars")


def _framed(chart: Chart, screen: Screen, rows: int) -> Iterator[str]:
    y = scale.of_numbers(y_values(chart), max(2, rows // _ROWS_PER_TICK), from_zero=chart.form == "areas")
    labels = {round((1 - tick.at) * (rows - 1)): tick.text for tick in reversed(y.ticks)}
    left = min(max(map(len, labels.values()), default=1), screen.width - _LEAST_COLUMNS - 2)
    width = screen.width - left - 2
    canvas = Canvas(width, rows, colour=screen.colour, unicode=screen.unicode)
    x = x_scale(chart, max(1, width // _TICK_COLUMNS))
    _draw(chart, canvas, x, y)
    bar, tick, corner, dash, foot = "│┤└─┬" if screen.unicode else "||+-+"
    for number, row in enumerate(canvas.rows()):
        label = shortened(labels.get(number, ""), left)
        yield f"{label:>{left}} {tick if number in labels else bar}{row}"
    line, below = [dash] * width, [" "] * (left + 2 + width)
    taken = 0
    for one in x.ticks:
        column = round(one.at * (width - 1))
        begin = min(max(left + 2 + column - len(one.text) // 2, 0), left + 2 + width - len(one.text))
        if begin >= taken:
            line[column] = foot
            below[begin : begin + len(one.text)] = one.text
            taken = begin + len(one.text) + 1
    yield f"{' ' * left} {corner}{''.join(line)}"
    yield "".join(below).rstrip()


def _draw(chart: Chart, canvas: Canvas, x: scale.Scale, y: scale.Scale) -> None:
    for limit in chart.limits:
        if is_known(limit.at):
            canvas.level(y.share(limit.at), (DIM,))
    if chart.form == "areas":
        places = [x.share(at) for at in chart.x]
        edges = [[y.share(value) for value in edge] for edge in stacked(chart.series)]
        canvas.areas(_by_column(places, edges, canvas.width))
        return
    for number, one in enumerate(chart.series):
        points = (
            None if value is None or not is_known(value) else (x.share(at), y.share(value))
            for at, value in zip(chart.x if one.x is None else one.x, one.values, strict=True)
        )
        canvas.lines(points, number, marks=_needs_marks(chart, canvas.colour, canvas.unicode))


def _needs_marks(chart: Chart, colour: bool, unicode: bool) -> bool:
    return not unicode or (len(chart.series) > 1 and not colour)


def _by_column(places: Sequence[float], edges: Sequence[Sequence[float]], width: int) -> list[list[float]]:
    """The edges in each column: those of its highest position, or on a line between its neighbours."""
    highest: dict[int, int] = {}
    for number, place in enumerate(places):
        column = round(place * (width - 1))
        if column not in highest or edges[-1][number] > edges[-1][highest[column]]:
            highest[column] = number
    filled = sorted(highest)
    columns: list[list[float]] = []
    for column in range(width):
        after = bisect_left(filled, column)
        if after == len(filled) or (after == 0 and filled[0] != column):
            columns.append([])
            continue
        right = filled[after]
        left = right if after == 0 or right == column else filled[after - 1]
        part = 0.0 if left == right else (column - left) / (right - left)
        columns.append(
            [edge[highest[left]] + (edge[highest[right]] - edge[highest[left]]) * part for edge in edges]
        )
    return columns


def _legend(chart: Chart, names: Sequence[str], screen: Screen) -> Iterator[str]:
    """The marks and names of the series, as many in each line as fit."""
    line, used = "", 0
    for mark, style, name in _entries(chart, names, screen):
        shown = shortened(name, screen.width - len(mark) - 1)
        length = len(mark) + 1 + cells(shown)
        if line and used + 3 + length > screen.width:
            yield line
            line, used = "", 0
        gap = "   " if line else ""
        line += f"{gap}{painted(mark, style if screen.colour else ())} {shown}"
        used += len(gap) + length
    if line:
        yield line


def _entries(
    chart: Chart, names: Sequence[str], screen: Screen
) -> Iterator[tuple[str, tuple[int, ...], str]]:
    for number, name in enumerate(names):
        if chart.form == "areas":
            mark = (
                "█"
                if screen.colour and screen.unicode
                else shade_of(number, len(names), unicode=screen.unicode)
            )
        elif chart.form == "bars":
            mark = "█" if screen.colour and screen.unicode else mark_of(number)
        elif _needs_marks(chart, screen.colour, screen.unicode):
            mark = mark_of(number)
        else:
            mark = "──"
        yield mark, (colour_of(number),), name
    for limit in chart.limits:
        yield "╌╌" if screen.unicode else "--", (DIM,), f"{escape(limit.label)} {scale.number_text(limit.at)}"
