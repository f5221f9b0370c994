import math

import pytest

from streamd.charts.chart import (
    MOST_SERIES,
    Chart,
    ChartSeries,
    Limit,
    is_known,
    known,
    stacked,
    x_values,
    y_values,
)


def test_missing_and_infinite_values_are_not_known() -> None:
    assert known([1.0, None, math.nan, math.inf, -math.inf, 0.0]) == [1.0, 0.0]
    assert not any(map(is_known, [None, math.nan, math.inf]))


def test_each_series_has_a_value_for_each_position() -> None:
    with pytest.raises(ValueError, match="needs 2 values"):
        Chart([ChartSeries("a", [1.0])], x=[1, 2])
    with pytest.raises(ValueError, match="needs 1 values"):
        Chart([ChartSeries("a", [1.0, 2.0])], categories=["one"], form="bars")


def test_a_chart_has_no_more_series_than_marks() -> None:
    with pytest.raises(ValueError, match="at most 12"):
        Chart([ChartSeries("a", [])] * (MOST_SERIES + 1))


def test_areas_are_not_below_zero() -> None:
    with pytest.raises(ValueError, match="below zero"):
        Chart([ChartSeries("a", [1.0, -1.0])], x=[1, 2], form="areas")


def test_areas_lie_on_each_other_and_a_gap_adds_nothing() -> None:
    assert stacked([ChartSeries("a", [1, 2]), ChartSeries("b", [None, 3])]) == [[1, 2], [1, 5]]
    assert stacked([]) == []


def test_the_axis_shows_limits_and_the_sum_of_areas() -> None:
    series = [ChartSeries("a", [1, None]), ChartSeries("b", [2, 3])]
    limits = [Limit("bound", 10), Limit("none", math.inf)]
    assert max(y_values(Chart(series, x=[1, 2], limits=limits))) == 10
    assert max(y_values(Chart(series, x=[1, 2], form="areas"))) == 3
    assert min(y_values(Chart(series, x=[1, 2], form="areas"))) == 0
    assert sorted(y_values(Chart(series, x=[1, 2]))) == [1, 2, 3]


def test_lines_may_have_positions_of_their_own() -> None:
    chart = Chart([ChartSeries("a", [1.0, 2.0], [5.0, 6.0]), ChartSeries("b", [3.0])], x=[9.0])
    assert sorted(x_values(chart)) == [5, 6, 9]
    with pytest.raises(ValueError, match="its own x"):
        Chart([ChartSeries("a", [1.0], [5.0, 6.0])])
    with pytest.raises(ValueError, match="only series of lines"):
        Chart([ChartSeries("a", [1.0], [5.0])], x=[1.0], form="areas")
