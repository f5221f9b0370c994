import math

import pytest

from streamd.charts import scale


def texts(one: scale.Scale) -> list[str]:
    return [tick.text for tick in one.ticks]


def test_the_ticks_of_numbers_are_round_and_the_ends_too() -> None:
    axis = scale.of_numbers([30_000, 70_000], 4)
    assert texts(axis) == ["0", "20,000", "40,000", "60,000", "80,000"]
    assert (axis.low, axis.high) == (0, 80_000)
    assert [tick.at for tick in axis.ticks] == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def test_values_far_from_zero_keep_their_own_range() -> None:
    axis = scale.of_numbers([98, 101], 4)
    assert axis.low >= 97
    assert axis.high <= 102
    assert scale.of_numbers([-101, -98], 4).high <= -97


def test_values_near_zero_show_zero() -> None:
    assert scale.of_numbers([40, 100], 4).low == 0
    assert scale.of_numbers([-100, -40], 4).high == 0


def test_an_axis_may_begin_at_zero_in_any_case() -> None:
    assert scale.of_numbers([98, 101], 4, from_zero=True).low == 0
    assert scale.of_numbers([-101, -98], 4, from_zero=True).high == 0


def test_an_axis_may_end_at_its_values() -> None:
    axis = scale.of_numbers([1, 99], 4, round_ends=False)
    assert (axis.low, axis.high) == (0, 99)
    assert texts(axis) == ["0", "50"]


@pytest.mark.parametrize(
    "values",
    [
        [1e308, -1e308], [1.7e308], [-1.7e308, 1.7e308], [5e-324, 0.0], [5e-324], [0.0], [1e16, 1e16 + 2],
        [2.0**63, 2.0**63 - 1], [], [1e-12, 2e-12], [1e300, 1e300 * (1 + 1e-15)], [-1e-320, 1e-320],
    ],
)  # fmt: skip
@pytest.mark.parametrize("most", [1, 3, 40])
def test_huge_tiny_and_equal_values_have_a_finite_axis(values: list[float], most: int) -> None:
    axis = scale.of_numbers(values, most)
    assert math.isfinite(axis.low)
    assert math.isfinite(axis.high)
    assert axis.low < axis.high
    assert len(axis.ticks) <= 2 * most + 3
    for value in values:
        assert axis.low <= value <= axis.high
        assert 0 <= axis.share(value) <= 1


def test_a_range_wider_than_the_greatest_number_has_its_middle_in_the_middle() -> None:
    axis = scale.of_numbers([-1.7e308, 1.7e308], 3)
    assert axis.share(0) == 0.5
    assert axis.share(0.85e308) == pytest.approx(0.75)


def test_neighbouring_ticks_have_different_texts() -> None:
    for values in ([1e9, 1e9 + 5], [1e16, 1e16 * (1 + 1e-9)], [0.001, 0.0011], [123456.001, 123456.002]):
        shown = texts(scale.of_numbers(values, 5))
        assert len(shown) > 1
        assert len(set(shown)) == len(shown)


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [
        (1234567, 0, "1,234,567"), (0.01, 0, "0.01"), (1e-9, 0, "1e-9"),
        (0.1, 0.05, "0.10"), (0.05, 0.05, "0.05"), (0, 1, "0"), (12.5, 0, "12.5"),
        (-3, 0, "-3"), (1e308, 0, "1e308"), (2.5e-7, 1e-8, "2.5e-7"), (100000, 50000, "100,000"),
        (2e9, 1e9, "2e9"),
    ],
)  # fmt: skip
def test_a_number_has_the_digits_that_its_step_needs(value: float, step: float, text: str) -> None:
    assert scale.number_text(value, step) == text


DAY = 1_796_083_200.0  # 2026-12-01 in UTC


@pytest.mark.parametrize(
    ("span_s", "shown"),
    [
        (10, ["00:00:00", "00:00:05", "00:00:10"]),
        (240, ["00:00", "00:02", "00:04"]),
        (86_400, ["00:00", "12:00", "00:00"]),
        (3 * 86_400, ["2026-12-01", "2026-12-02", "2026-12-03"]),
        (90_000, ["12-01 00:00", "12-01 12:00", "12-02 00:00"]),
        (86_400 * 100, ["2026-12-21", "2027-01-24", "2027-02-27"]),
    ],
)
def test_times_have_round_ticks_in_utc(span_s: float, shown: list[str]) -> None:
    axis = scale.of_times([DAY, DAY + span_s], 3)
    assert texts(axis)[:3] == shown[:3]
    assert axis.low == DAY
    assert axis.high == DAY + span_s
    assert axis.share(DAY + span_s / 2) == pytest.approx(0.5)


def test_times_within_a_second_show_their_fraction() -> None:
    assert texts(scale.of_times([DAY, DAY + 0.5], 4)) == ["00:00:00.000000", "00:00:00.500000"]
    assert texts(scale.of_times([DAY + 0.25], 1)) == ["00:00:00.250000"]


def test_a_time_beyond_the_calendar_is_a_number() -> None:
    assert texts(scale.of_times([1e15, 2e15], 2))


def test_the_note_names_the_day_if_it_is_one() -> None:
    assert scale.time_note([DAY, DAY + 3600]) == "2026-12-01 UTC"
    assert scale.time_note([DAY, DAY + 86_400]) == "UTC"
    assert scale.time_note([]) == "UTC"
