import math

from streamd.charts.bars import rows
from streamd.charts.chart import Chart, ChartSeries
from streamd.charts.screen import Screen


def bars(*series: ChartSeries, names: list[str], screen: Screen) -> list[str]:
    return list(rows(Chart(series, categories=names, form="bars"), screen))


def test_a_bar_has_the_length_of_its_value() -> None:
    screen = Screen(width=28, colour=False, unicode=False)
    shown = bars(ChartSeries("n", [10, 5, 0]), names=["tcp", "udp", "unix"], screen=screen)
    assert shown == [" tcp |################### 10", " udp |########## 5", "unix | 0"]


def test_eighths_show_small_differences() -> None:
    shown = bars(ChartSeries("n", [20, 10.5, 0.01]), names=["a", "b", "c"], screen=Screen(width=28))
    assert shown == ["a │████████████████████ 20", "b │██████████▌ 10.5", "c │▏ 0.01"]


def test_values_below_zero_end_at_the_common_zero() -> None:
    screen = Screen(width=27, colour=False, unicode=False)
    assert bars(ChartSeries("n", [-5, 5]), names=["a", "b"], screen=screen) == [
        "a |########## -5",
        "b |          ########### 5",
    ]


def test_a_missing_value_is_named() -> None:
    shown = bars(ChartSeries("n", [1, None, math.nan]), names=["a", "b", "c"], screen=Screen(width=30))
    assert [line.endswith("│ no value") for line in shown] == [False, True, True]


def test_several_series_have_marks_without_colours() -> None:
    shown = bars(ChartSeries("n", [3]), ChartSeries("m", [3]), names=["a"], screen=Screen(width=20))
    assert shown[0].startswith("a │*")
    assert shown[1].startswith("  │+")


def test_a_narrow_terminal_cuts_names_and_keeps_numbers() -> None:
    shown = bars(ChartSeries("n", [123456, 1]), names=["a very long name", "b"], screen=Screen(width=20))
    assert all(len(line) <= 20 for line in shown)
    assert shown[0].endswith("123,456")
    assert shown[0].startswith("a.. │")


def test_no_categories_are_no_lines() -> None:
    assert bars(ChartSeries("n", []), names=[], screen=Screen()) == []
