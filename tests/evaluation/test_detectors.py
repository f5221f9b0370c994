import pytest

from tests.evaluation import baselines
from tests.evaluation.baselines import FixedLimits
from tests.evaluation.detectors import METHODS, chosen, flags, methods_for, results
from tests.evaluation.rows import all_rows
from tests.evaluation.series import Series

QUIET = [10.0, 11.0, 10.5, 11.5] * 20


def series(values: list[object], labels: list[bool], key: str | None = None) -> Series:
    records = [{"v": value, "other": 1.0, "k": "ab"[n % 2], "at": 1e9 + n} for n, value in enumerate(values)]
    return Series("made", records, labels, ("v",), 1.0, has_time=True, span=5, key=key)


def with_peaks(*places: int, high: float = 99.0) -> Series:
    values: list[object] = [high if place in places else value for place, value in enumerate(QUIET * 2)]
    return series(values, [place in places for place in range(len(values))])


def test_the_step_gets_all_records_in_batches_and_each_has_its_flag() -> None:
    made = with_peaks(50, 130)
    found = flags(made, {"field": "v", "method": "ewma"}, 160)
    assert [place for place, flag in enumerate(found) if flag] == [50, 130]
    assert "anomaly" not in made.records[0]
    assert len(results(made, {"field": "v", "method": "hampel"}, 70)) == 70


def test_each_key_has_a_model_of_its_own() -> None:
    values: list[object] = [n % 2 * 100.0 + n % 5 for n in range(100)]
    values[81] = 40.0  # usual for all values together, but not for the key b
    of_keys = series(values, [False] * 100, key="k")
    assert sum(flags(of_keys, {"field": "v", "method": "ewma"}, 100)) == 1
    assert not any(flags(series(values, [False] * 100), {"field": "v", "method": "ewma"}, 100))


def test_the_second_half_has_no_influence_on_the_choice() -> None:
    made = with_peaks(50, 60, 130)
    other = with_peaks(50, 60, *range(100, 160, 3), high=-500.0)
    other.records[50]["v"] = other.records[60]["v"] = 99.0
    risen = with_peaks(50, 60, 130)
    for record in risen.records[80:]:
        record["v"] += 1000.0
    assert made.half == other.half == risen.half == 80
    for method in methods_for(made):
        assert chosen(made, method) == chosen(other, method) == chosen(risen, method)
    assert baselines.fixed_limits(made) == baselines.fixed_limits(other) == baselines.fixed_limits(risen)


def test_a_series_without_a_season_has_no_seasonal_method() -> None:
    made = with_peaks(50)
    assert [method.name for method in methods_for(made)] == ["ewma", "hampel", "quantile"]
    assert len(list(METHODS[0].grid(made))) == 5 * 3 * 3


def test_the_half_is_moved_behind_an_event_that_is_running() -> None:
    labels = [4 <= n < 7 for n in range(10)]
    assert series(list(range(10)), labels).half == 8
    # Of two keys: the event of a is running until its next record without a label.
    by_key = series(list(range(12)), [n in (4, 6, 8) for n in range(12)], key="k")
    assert by_key.half == 11
    with pytest.raises(ValueError, match="an event is running up to the end"):
        _ = series(list(range(4)), [False, True, True, True]).half


def test_only_the_asked_part_is_judged_and_each_key_by_itself() -> None:
    made = series(list(range(8)), [True, True, False, False, False, False, True, True], key="k")
    outcome = made.judge([True] * 8, range(2, 8))
    assert (outcome.events, outcome.found, outcome.false_alarms, outcome.records) == (2, 2, 2, 6)


def test_fixed_limits_flag_values_outside_and_nothing_that_is_no_number() -> None:
    values: list[object] = [1, 5, 9, "9", None, True, 9, 9]
    made = series(values, [False] * 8)
    assert FixedLimits("v", 2, 8).flags(made) == [True, False, True, False, False, False, True, True]
    assert sum(FixedLimits("v", 2, 8, "2 of 3").flags(made)) == 3
    assert sum(FixedLimits("v", 2, 8, "2 of 3").flags(series(values, [False] * 8, key="k"))) == 2


def test_fixed_limits_are_chosen_of_the_normal_values_of_the_first_half() -> None:
    limits = baselines.fixed_limits(with_peaks(50, 60))
    assert limits.low < 10.0
    assert 11.5 < limits.high < 99.0


def test_random_flags_come_at_the_rate_asked_for_and_are_the_same_each_time() -> None:
    made = with_peaks(*range(100, 110))
    found = baselines.at_random(made, 0.3)
    assert found == baselines.at_random(made, 0.3)
    assert found.records == 80 * baselines.SEEDS
    assert found.rate == pytest.approx(0.3, abs=0.05)
    assert baselines.at_random(made, 0.0).flagged == 0
    assert baselines.at_random(made, 1.0).rate == 1.0


def test_a_series_has_the_constant_baselines_and_three_rows_for_each_method() -> None:
    rows = list(all_rows(with_peaks(50, 60, 130)))
    assert [row.detector for row in rows] == [
        "all flagged", "none flagged", "fixed limits",
        *(f"`{name}`, {what}" for name in ("ewma", "hampel", "quantile")
          for what in ("defaults", "learns inside", "chosen")),
    ]  # fmt: skip
    constant, none, limits, ewma, *_ = (row.outcome for row in rows)
    assert (constant.recall, constant.false_alarms, constant.precision) == (1.0, 16, 1 / 17)
    assert (none.recall, none.precision, none.false_alarms) == (0.0, None, 0)
    assert (limits.recall, limits.precision) == (1.0, 1.0)
    assert (ewma.recall, ewma.precision) == (1.0, 1.0)
