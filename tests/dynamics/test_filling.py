import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.dynamics.filling import Z_90, overflow_probability, time_to_full

rooms = st.floats(1, 1e6)
drifts = st.floats(0.1, 1e5)
variances = st.floats(0, 1e8)
windows = st.sampled_from([1.0, 5.0, 20.0])


@given(rooms, drifts, variances, windows)
def test_the_ends_of_the_band_are_the_times_at_which_the_probability_is_5_and_95_percent(
    room: float, drift: float, variance: float, window: float
) -> None:
    found = time_to_full(room, drift, variance, window)
    assert found is not None
    assert 0 < found.low_s <= found.median_s * (1 + 1e-9)
    if variance < 1e-6:
        return
    spread = math.sqrt(variance * found.low_s * (1 + found.low_s / window))
    assert (drift * found.low_s - room) / spread == pytest.approx(
        -Z_90, rel=1e-3, abs=1e-3
    ) or spread < 1e-6 * room
    if found.high_s is not None:
        assert found.high_s >= found.median_s * (1 - 1e-9)
        assert overflow_probability(room, drift, variance, window, found.high_s) >= 0.949


def test_a_noisy_drift_that_may_be_zero_has_no_upper_end() -> None:
    found = time_to_full(1000, 10, 1e6, 5)
    assert found is not None
    assert found.high_s is None
    assert found.median_s == 100


@pytest.mark.parametrize("drift", [0.0, -5.0])
def test_a_queue_that_does_not_fill_has_no_time(drift: float) -> None:
    assert time_to_full(1000, drift, 100, 5) is None


def test_a_full_queue_is_full_now() -> None:
    assert time_to_full(0, 10, 100, 5) == (0, 0, 0)
    assert overflow_probability(0, -10, 100, 5, 60) == 1


def test_without_variance_the_time_is_exact() -> None:
    found = time_to_full(1000, 100, 0, 5)
    assert found is not None
    assert found == pytest.approx((10, 10, 10))
    assert [overflow_probability(1000, 100, 0, 5, t) for t in (0, 9.9, 10, 11)] == [0, 0, 1, 1]


def test_the_probability_is_the_share_of_simulated_walks() -> None:
    draw = random.Random(4)  # noqa: S311 - no secret
    room, drift, variance, window, horizon = 500.0, 8.0, 900.0, 20.0, 60.0
    full = 0
    for _ in range(20_000):
        measured = drift + draw.gauss(0, math.sqrt(variance / window))
        full += measured * horizon + draw.gauss(0, math.sqrt(variance * horizon)) >= room
    assert overflow_probability(room, drift, variance, window, horizon) == pytest.approx(
        full / 20_000, abs=0.015
    )
