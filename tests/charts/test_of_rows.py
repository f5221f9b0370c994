import math
from collections.abc import Sequence
from typing import Any

import pytest

from streamd.charts.chart import MOST_SERIES
from streamd.charts.of_rows import MOST_BARS, Drawn, chart_of
from streamd.core.errors import ConfigError

NOON = 1_796_126_400.0  # 2026-12-01T12:00:00Z


def drawn(columns: str, rows: Sequence[Sequence[Any]], **options: Any) -> Drawn:
    return chart_of(columns.split(), rows, str, **options)


@pytest.mark.parametrize(
    ("text", "at_s"),
    [
        ("2026-12-01T12:00:00.000000Z", NOON), ("2026-12-01 12:00:00", NOON), ("2026-12-01 12:00", NOON),
        ("2026-12-01T14:00:00+02:00", NOON), ("2026-12-01", NOON - 43_200),
    ],
)  # fmt: skip
def test_a_text_that_is_a_time_is_a_place_on_the_axis(text: str, at_s: float) -> None:
    chart = drawn("n at", [(1, text)]).chart
    assert (chart.x_kind, chart.x_label, list(chart.x)) == ("time", "at", [at_s])
    assert [(one.label, one.values) for one in chart.series] == [("n", [1.0])]


@pytest.mark.parametrize("text", ["20261201", "1796126400", "2026-13-01", "2026-12-01 is a day", "2026", ""])
def test_other_texts_are_categories(text: str) -> None:
    chart = drawn("at n", [(text, 1)]).chart
    assert (chart.form, list(chart.categories)) == ("bars", [text])


def test_without_times_the_first_column_is_x_and_each_other_column_of_numbers_a_series() -> None:
    chart = drawn("a b c d", [(1, 2, "x", None), (2, 3.5, "y", None)]).chart
    assert (chart.form, chart.x_kind, list(chart.x)) == ("lines", "number", [1, 2])
    assert [(one.label, one.values) for one in chart.series] == [("b", [2, 3.5])]


def test_one_column_of_numbers_is_drawn_over_the_number_of_the_row() -> None:
    chart = drawn("v", [(5,), (7,)]).chart
    assert (list(chart.x), chart.x_label, chart.series[0].values) == ([1, 2], "row", [5, 7])


def test_rows_are_drawn_in_the_order_of_x() -> None:
    chart = drawn("x v", [(3, 30), (1, 10), (2, 20)]).chart
    assert (list(chart.x), chart.series[0].values) == ([1, 2, 3], [10, 20, 30])


def test_null_is_a_gap_and_no_note() -> None:
    chart, notes = drawn("x v", [(1, 1), (2, None), (3, 3)])
    assert (chart.series[0].values, notes) == ([1, None, 3], [])


def test_values_that_cannot_be_drawn_are_counted() -> None:
    chart, notes = drawn("x v w", [(1, 1, 1), (2, "bad", math.inf), (3, b"\xff", -math.inf), (None, 1, 1)])
    assert chart.series[0].values == [1, None, None]
    assert notes == [
        "2 values of v are no numbers, and are gaps",
        "2 values of w are infinite, and are gaps",
        "1 row without a value of x is left out",
    ]
    assert drawn("x v w", [(1, 1, 1), (2, "bad", math.inf), (3, 3, 3)]).notes == [
        "1 value of v is no number, and is a gap",
        "1 value of w is infinite, and is a gap",
    ]


def test_each_value_of_a_column_is_a_series_with_its_own_positions() -> None:
    chart = drawn(
        "x v s", [(1, 10, "a"), (2, 20, "b"), (3, None, "a"), (4, 40, "a"), (2, 5, None)], by="s"
    ).chart
    assert [(one.label, one.x, one.values) for one in chart.series] == [
        ("a", [1, 3, 4], [10, None, 40]), ("b", [2], [20]), ("NULL", [2], [5]),
    ]  # fmt: skip


def test_several_columns_of_numbers_by_a_column_have_both_names() -> None:
    chart = drawn("x v w s", [(1, 10, 11, "a"), (1, 20, 21, "b")], by="s").chart
    assert [one.label for one in chart.series] == ["a v", "a w", "b v", "b w"]


def test_of_too_many_groups_those_with_the_most_rows_are_kept() -> None:
    rows = [(n, n, f"s{n % 20}") for n in range(40)] + [(1, 1, "s19")] * 5
    chart, notes = drawn("x v s", rows, by="s")
    assert len(chart.series) == MOST_SERIES
    assert "s19" in [one.label for one in chart.series]
    assert notes == ["8 of 20 values of s, those with the fewest rows, are left out"]


def test_columns_beyond_the_most_series_are_named() -> None:
    names = [f"c{n}" for n in range(MOST_SERIES + 3)]
    chart, notes = drawn(" ".join(names), [tuple(range(len(names)))])
    assert [one.label for one in chart.series] == names[1 : MOST_SERIES + 1]
    assert notes == ["a chart has at most 12 series, so these are left out: c13, c14"]


def test_areas_by_a_column_are_stacked_at_common_positions() -> None:
    chart = drawn("x v s", [(1, 10, "a"), (2, 20, "b"), (2, 5, "a")], by="s", form="areas").chart
    assert (chart.form, list(chart.x)) == ("areas", [1, 2])
    assert [(one.label, one.values) for one in chart.series] == [("a", [10, 5]), ("b", [None, 20])]


def test_bars_keep_the_order_of_the_rows_and_are_grouped_by_a_column() -> None:
    chart = drawn("s n", [("b", 2), ("a", 1), (None, 3)]).chart
    assert (list(chart.categories), chart.series[0].values) == (["b", "a", "NULL"], [2, 1, 3])
    grouped = drawn("s n k", [("b", 2, "x"), ("a", 1, "x"), ("b", 3, "y")], by="k").chart
    assert list(grouped.categories) == ["b", "a"]
    assert [(one.label, one.values) for one in grouped.series] == [("x", [2, 1]), ("y", [3, None])]


def test_too_many_bars_are_cut_and_counted() -> None:
    chart, notes = drawn("s n", [(f"s{n}", n) for n in range(MOST_BARS + 7)])
    assert len(chart.categories) == MOST_BARS
    assert notes == ["7 of 107 bars are left out: use order by and limit"]


def test_numbers_may_be_bars_too() -> None:
    chart = drawn("x n", [(3, 2), (1, 1)], form="bars").chart
    assert (chart.form, list(chart.categories)) == ("bars", ["3", "1"])


@pytest.mark.parametrize(
    ("columns", "rows", "options", "words"),
    [
        ("a b", [], {}, "the query has no rows"),
        ("a b", [("x", "y")], {}, "no column of numbers to plot: select one"),
        ("a", [(None,)], {}, "no column of numbers to plot: select one"),
        ("a b", [(1, 2)], {"x": "c"}, "the query has no column c; it has a, b"),
        ("a b", [(1, 2)], {"by": "\x1b"}, r"no column \\x1b; it has a, b"),
        ("a b", [(1, "y")], {"x": "a"}, "besides a the query has no column of numbers"),
        ("a b c", [("x", 1, 2)], {"form": "areas"}, "a has texts, which only bars can show, not areas"),
        ("a b", [(1, -2)], {"form": "areas"}, "must not be below zero; use --form lines"),
        ("a b", [(math.inf, 2)], {}, "no row has a value of a"),
    ],
)
def test_rows_that_cannot_be_drawn_are_refused(
    columns: str, rows: list[tuple[Any, ...]], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        drawn(columns, rows, **options)
