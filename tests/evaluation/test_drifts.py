import random

import pytest

from tests.evaluation.change_series import WITHIN, ChangeSeries, change_series
from tests.evaluation.drifts import all_rows, chosen, jump_limit, jumps, of_options, reports


def with_a_change(*points: int, count: int = 600, name: str = "made") -> ChangeSeries:
    """The level changes by ten standard deviations at each point."""
    draw = random.Random(name)  # noqa: S311 - values are no secrets
    values = [draw.gauss(10.0 * (sum(place >= point for point in points) % 2), 1.0) for place in range(count)]
    return ChangeSeries(name, values, {"a": list(points), "b": []})


def test_river_has_six_series_and_every_mark_is_in_them() -> None:
    found = {series.name: series for series in change_series()}
    assert {name: len(series.values) for name, series in found.items()} == {
        "Airline passengers": 468, "Apple": 623, "Bitcoin": 822, "Brent": 500, "Occupancy": 509, "Run": 376,
    }  # fmt: skip
    for series in found.values():
        assert len(series.marked) == 5
        assert all(0 < point < len(series.values) for points in series.marked.values() for point in points)
        assert not {point for points in series.marked.values() for point in points} & set(
            range(series.half - WITHIN, series.half)
        )
    # What everybody knows: the fall of Apple in September 2000, and of oil in 2008.
    assert found["Apple"].values[320] < 0.6 * found["Apple"].values[319]
    assert found["Brent"].values[230] < 0.5 * found["Brent"].values[219]


def test_the_half_is_moved_behind_a_point_that_may_still_be_found() -> None:
    assert ChangeSeries("x", [0.0] * 100, {"a": [40], "b": [10]}).half == 66
    assert ChangeSeries("x", [0.0] * 100, {"a": [50], "b": [10]}).half == 50
    assert ChangeSeries("x", [0.0] * 100, {"a": [40, 60, 80]}).half == 100


@pytest.mark.parametrize("method", ["adwin", "cusum", "page_hinkley"])
def test_the_step_reports_a_great_change_soon(method: str) -> None:
    series = with_a_change(200, 400)
    found = reports(series, {"method": method}, 600)
    assert [place // 100 for place in found] == [2, 4]
    row = of_options([series], "it", {"method": method})
    assert (row.found.recall, row.found.false_alarms, row.found.points) == (1.0, 0, 1)
    assert row.at_random is not None
    assert row.at_random.reports == 20
    assert row.at_random.f1 < 0.3


def test_the_second_halves_have_no_influence_on_the_choice() -> None:
    one, other = with_a_change(150, 450), with_a_change(150, 450)
    other.values[other.half :] = [0.0] * (600 - other.half)
    assert chosen([one], "cusum") == chosen([other], "cusum")
    assert jump_limit(one, 0.9, 2.0) == jump_limit(other, 0.9, 2.0)


def test_a_jump_is_a_difference_to_the_value_before() -> None:
    series = ChangeSeries("x", [0.0, 1.0, 5.0, 5.0, 0.0, -1.0], {})
    assert jumps(series, 1.0) == [2, 4]
    assert jump_limit(series, 1.0, 2.0) == 8.0  # of the differences 1 and 4


def test_every_method_and_baseline_has_a_row() -> None:
    rows = list(all_rows([with_a_change(200, 450), with_a_change(150, 400, name="other")]))
    assert [row.detector for row in rows] == [
        "every 25 records", "never", "a jump",
        *(f"`{name}`, {what}" for name in ("adwin", "cusum", "page_hinkley")
          for what in ("defaults", "chosen")),
    ]  # fmt: skip
    assert [len(row.by_series) for row in rows] == [2] * 9
    assert rows[1].at_random is None
    assert rows[0].found.recall == 1.0
    assert [row.found.recall for row in rows[5:]] == [1.0] * 4
    assert all(row.found.reports == 2 for row in rows[3:])
