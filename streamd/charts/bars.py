"""Horizontal bars for the terminal, one for each category and series."""

from collections.abc import Iterator

from streamd.charts import scale
from streamd.charts.canvas import colour_of, mark_of, painted
from streamd.charts.chart import Chart, is_known, y_values
from streamd.charts.screen import Screen
from streamd.core.printable import cells, shortened

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEAST_NAME = 3
_USUAL = 8
"""Columns for the bars that names leave free."""
MISSING = "no value"


def rows(chart: Chart, screen: Screen) -> Iterator[str]:
    """The lines of the bars: category, bar, value. Bars of values below zero end at the common zero."""
    if not chart.categories:
        return
    values = y_values(chart)
    ends = scale.of_numbers(values, 4, from_zero=True, round_ends=False)
    texts = [[_text(value) for value in one.values] for one in chart.series]
    right = max((len(text) for column in texts for text in column), default=0)
    left = min(
        max(map(cells, chart.categories)),
        max(_LEAST_NAME, min(screen.width // 3, screen.width - right - _USUAL - 3)),
    )
    width = max(1, screen.width - left - right - 3)
    for place, category in enumerate(chart.categories):
        name = shortened(category, left)
        for number, one in enumerate(chart.series):
            head = " " * (left - cells(name)) + name if number == 0 else " " * left
            value = one.values[place]
            bar = (
                ""
                if value is None or not is_known(value)
                else _bar(ends, value, width, number, chart, screen)
            )
            text = texts[number][place]
            line = f"{head} {'│' if screen.unicode else '|'}"
            yield f"{line}{bar} {text}".rstrip()


def _text(value: float | None) -> str:
    return MISSING if value is None or not is_known(value) else scale.number_text(value)


def _bar(ends: scale.Scale, value: float, width: int, number: int, chart: Chart, screen: Screen) -> str:
    zero, end = ends.share(0.0) * width, ends.share(value) * width
    low, high = min(zero, end), max(zero, end)
    several = len(chart.series) > 1
    fill = "█" if screen.unicode and (screen.colour or not several) else mark_of(number) if several else "#"
    if fill == "█" and value >= 0:
        eighths = round((high - low) * 8)
        part = fill * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
        if not part and value > 0:
            part = _EIGHTHS[1]
    else:
        part = fill * max(round(high) - round(low), 1 if value else 0)
    blank = " " * round(low if value >= 0 else min(low, width - 1))
    return blank + painted(part, (colour_of(number),) if screen.colour and part else ())
