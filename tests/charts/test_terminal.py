import math
import re

import pytest

from streamd.charts.chart import Chart, ChartSeries, Form, Limit
from streamd.charts.screen import Screen
from streamd.charts.terminal import text
from streamd.core.printable import cells

SGR = re.compile(r"\x1b\[[0-9;]*m")
SCREENS = [
    Screen(width, height, colour, unicode)
    for width, height in ((80, 20), (40, 12), (20, 6))
    for colour in (False, True)
    for unicode in (False, True)
]
HOSTILE = "x\x1b[2J\x1b]0;t\x07\u202e\ud800数据\n"


def chart_of(form: Form, label: str = "in") -> Chart:
    series = [
        ChartSeries(label, [50.0 + 20 * math.sin(n / 9) for n in range(100)]),
        ChartSeries("out", [None if 30 < n < 50 else 40.0 for n in range(100)]),
    ]
    if form == "bars":
        names = [f"{label}{n}" for n in range(100)]
        return Chart(series, categories=names, form="bars", title=label, y_label=label)
    limits = [Limit(label, 65)]
    return Chart(
        series, x=range(100), form=form, title=label, x_label=label, y_label=label, limits=limits,
    )  # fmt: skip


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("form", ["lines", "areas", "bars"])
@pytest.mark.parametrize("label", ["in", "long name " * 20, HOSTILE])
def test_no_line_is_wider_than_the_terminal_and_no_text_is_a_control_sequence(
    screen: Screen, form: Form, label: str
) -> None:
    lines = text(chart_of(form, label), screen)
    plain = [SGR.sub("", line) for line in lines]
    assert max(map(cells, plain)) <= screen.width
    assert all(line.isprintable() for line in plain)
    if not screen.colour:
        assert lines == plain
    if not screen.unicode and label != HOSTILE:
        assert all(map(str.isascii, plain))


def test_a_chart_has_axes_units_and_a_legend() -> None:
    chart = Chart(
        [ChartSeries("in", [0, 50]), ChartSeries("out", [100, 100])],
        x=[1_796_083_200, 1_796_083_230],
        x_kind="time",
        title="Rates",
        x_label="minute",
        y_label="records/s",
        limits=[Limit("bound", 80)],
    )
    lines = text(chart, Screen(50, 16))
    assert lines[:2] == ["Rates", "records/s"]
    assert lines[2].startswith("100 ┤")
    assert next(line for line in lines if line.startswith("  0 ┤"))
    assert lines[-3].split() == ["00:00:00", "00:00:10", "00:00:20", "00:00:30"]
    assert lines[-2].endswith("minute, 2026-12-01 UTC")
    assert lines[-1] == "* in   + out   ╌╌ bound 80"
    assert len(lines) == 16


def test_one_line_is_drawn_in_braille_and_several_without_colours_in_marks() -> None:
    one = "".join(text(Chart([ChartSeries("a", [1, 2])], x=[1, 2]), Screen(40, 10)))
    assert any("\u2800" < c <= "\u28ff" for c in one)
    two = Chart([ChartSeries("a", [1, 2]), ChartSeries("b", [2, 1])], x=[1, 2])
    assert not any("\u2800" < c <= "\u28ff" for c in "".join(text(two, Screen(40, 10))))
    assert any("\u2800" < c <= "\u28ff" for c in "".join(text(two, Screen(40, 10, colour=True))))


def test_areas_are_joined_between_their_positions() -> None:
    lines = text(Chart([ChartSeries("a", [1, 1])], x=[0, 10], form="areas"), Screen(30, 10))
    top = next(line for line in lines if "█" in line)
    assert top.count("█") > 20


def test_the_highest_of_many_positions_in_a_column_is_shown() -> None:
    values = [1.0] * 1000
    values[500] = 100.0
    lines = text(Chart([ChartSeries("a", values)], x=range(1000), form="areas"), Screen(30, 10))
    assert "█" in lines[0]


@pytest.mark.parametrize("form", ["lines", "areas", "bars"])
def test_a_chart_without_values_is_an_empty_frame(form: Form) -> None:
    assert text(Chart([], form=form), Screen(30, 10)) is not None
    assert text(Chart([ChartSeries("a", [])], form=form), Screen(30, 10))[-1:] in ([], ["── a"], ["█ a"])
    if form != "bars":
        gaps = text(Chart([ChartSeries("a", [None, math.nan])], x=[1, 2], form=form), Screen(30, 10))
        assert len(gaps) == 10


@pytest.mark.parametrize(
    "values", [[1e308, -1e308], [5e-324], [math.inf, 1], [2.0**63], [1e16, 1e16 + 2], [0, 0]]
)
def test_extreme_values_are_drawn(values: list[float]) -> None:
    lines = text(Chart([ChartSeries("a", values)], x=range(len(values))), Screen(40, 10))
    assert any("\u2800" < c <= "\u28ff" for c in "".join(lines))
