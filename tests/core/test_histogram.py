import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.histogram import Histogram

BOUNDS = (0.1, 0.5, 1.0)


def test_a_value_on_a_bound_belongs_to_it() -> None:
    histogram = Histogram(BOUNDS)
    histogram.observe(0.5)
    assert histogram.buckets() == [(0.1, 0), (0.5, 1), (1.0, 1), (math.inf, 1)]


def test_a_count_stands_for_that_many_values() -> None:
    histogram = Histogram(BOUNDS)
    histogram.observe(0.25, 4000)
    assert histogram.count == 4000
    assert histogram.sum == 1000.0


def test_no_value_has_no_quantile() -> None:
    assert Histogram(BOUNDS).quantile(0.5) is None


def test_a_quantile_above_the_last_bound_is_that_bound() -> None:
    histogram = Histogram(BOUNDS)
    histogram.observe(3600.0)
    assert histogram.quantile(0.99) == 1.0


def test_quantiles_lie_within_the_bucket_of_their_value() -> None:
    histogram = Histogram(BOUNDS)
    histogram.observe(0.05, 98)
    histogram.observe(0.7)
    histogram.observe(0.9)
    assert histogram.quantile(0.5) == pytest.approx(0.1 * 50 / 98)
    assert histogram.quantile(0.99) == pytest.approx(0.75)


def test_a_quantile_is_never_above_the_highest_value() -> None:
    histogram = Histogram((1.0, 60.0))
    histogram.observe(14.0, 3)
    histogram.observe(12.0)
    assert histogram.quantile(0.99) == 14.0
    assert histogram.buckets() == [(1.0, 0), (60.0, 4), (math.inf, 4)]


@pytest.mark.parametrize("bounds", [(), (1.0, 1.0), (2.0, 1.0)])
def test_bounds_that_do_not_ascend_are_refused(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        Histogram(bounds)


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 100)), min_size=1))
def test_every_value_is_in_exactly_one_bucket_and_quantiles_ascend(values: list[tuple[float, int]]) -> None:
    histogram = Histogram(BOUNDS)
    for value, count in values:
        histogram.observe(value, count)
    expected = [(bound, sum(n for value, n in values if value <= bound)) for bound in (*BOUNDS, math.inf)]
    assert histogram.buckets() == expected
    quantiles = [histogram.quantile(q / 10) or 0.0 for q in range(11)]
    assert quantiles == sorted(quantiles)
