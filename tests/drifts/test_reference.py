from math import nextafter
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.drifts.reference import SeriesReference


def learned(values: list[float], fewest: int, min_scale: float = 0.0) -> SeriesReference:
    reference = SeriesReference()
    for value in values:
        reference.count += 1
        reference.learn(value, fewest, min_scale)
    return reference


@given(st.lists(st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float), min_size=2, max_size=50))
def test_it_is_the_mean_and_the_standard_deviation_of_the_values(values: list[float]) -> None:
    reference = learned(values, 2)
    assert reference.mean == pytest.approx(fmean(values), rel=1e-9, abs=1e-6)
    assert reference.scale == pytest.approx(pstdev(values), rel=1e-6, abs=1e-6)


def test_it_is_incomplete_with_too_few_or_equal_values() -> None:
    assert learned([1.0, 2.0], 3).scale == 0.0
    assert learned([1.0, 2.0, 3.0], 3).scale > 0.0
    assert learned([1.1] * 50, 3).scale == 0.0
    assert learned([1e9, nextafter(1e9, 2e9)] * 5, 3).scale == 0.0


def test_the_scale_is_at_least_the_given_one() -> None:
    assert learned([1.1] * 3, 3, 0.5).scale == 0.5
    assert learned([0.0, 10.0], 2, 0.5).scale == 5.0
