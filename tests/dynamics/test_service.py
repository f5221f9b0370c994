import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.dynamics.service import ServiceFit, ServiceTime


@given(st.floats(1e-5, 1e-2), st.floats(1e-7, 1e-4), st.integers(0, 1000))
def test_both_costs_are_recovered(batch_s: float, record_s: float, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secret
    fit = ServiceFit()
    for _ in range(50):
        batches, records = draw.randint(1, 40), 0
        records = sum(draw.randint(1, 512) for _ in range(batches))
        fit.observe(batches, records, batches * batch_s + records * record_s)
    assert fit.time is not None
    assert fit.time == pytest.approx((batch_s, record_s), rel=1e-4)


def test_noise_is_averaged() -> None:
    draw = random.Random(2)  # noqa: S311 - no secret
    fit = ServiceFit()
    for _ in range(400):
        records = [draw.randint(1, 512) for _ in range(20)]
        fit.observe(20, sum(records), sum(draw.gauss(1, 0.2) * (1e-3 + 1e-5 * b) for b in records))
    assert fit.time is not None
    assert fit.time.capacity_per_s(512) == pytest.approx(512 / (1e-3 + 1e-5 * 512), rel=0.03)


def test_a_mean_over_small_batches_would_be_pessimistic() -> None:
    time = ServiceTime(1e-3, 1e-5)
    assert time.capacity_per_s(1) == pytest.approx(990, rel=0.01)
    assert time.capacity_per_s(512) == pytest.approx(83_660, rel=0.01)


def test_batches_of_one_size_give_a_cost_of_records_only() -> None:
    fit = ServiceFit()
    for _ in range(10):
        fit.observe(1, 100, 0.01)
    assert fit.time == pytest.approx((0, 1e-4))


def test_a_cost_is_never_below_0() -> None:
    fit = ServiceFit()
    fit.observe(1, 10, 0.001)
    fit.observe(1, 1000, 0.3)
    assert fit.time is not None
    assert fit.time.batch_s == 0
    other = ServiceFit()
    other.observe(1, 10, 0.3)
    other.observe(1, 1000, 0.001)
    assert other.time is not None
    assert other.time.record_s == 0
    assert other.time.batch_s > 0


def test_the_past_is_forgotten() -> None:
    changed = ServiceFit()
    for seconds in (10.0, 1.0):
        for _ in range(100):
            changed.observe(10, 1000, seconds)
            changed.observe(10, 2000, 2 * seconds)
    assert changed.time is not None
    assert changed.time.record_s == pytest.approx(1e-3, rel=0.2)


def test_small_batches_say_nothing_of_large_ones_unless_they_fit_well() -> None:
    draw = random.Random(6)  # noqa: S311 - no secret
    noisy, clear = ServiceFit(), ServiceFit()
    for _ in range(100):
        records = [draw.randint(1, 4) for _ in range(20)]
        exact_s = sum(1e-3 + 1e-5 * b for b in records)
        clear.observe(20, sum(records), exact_s)
        noisy.observe(20, sum(records), exact_s * draw.uniform(0.5, 1.5))
    assert clear.capacity_per_s(512) == pytest.approx(512 / (1e-3 + 1e-5 * 512), rel=0.01)
    small = noisy.capacity_per_s(512)
    assert small is not None
    assert small == pytest.approx(2.5 / 1e-3, rel=0.1)


def test_one_size_of_batches_says_nothing_of_larger_ones() -> None:
    fit = ServiceFit()
    for _ in range(10):
        fit.observe(2, 100, 0.01)
    assert [fit.capacity_per_s(size) for size in (50, 5000)] == pytest.approx([10_000, 10_000])


def test_there_is_no_time_without_a_batch() -> None:
    fit = ServiceFit()
    assert fit.time is None
    fit.observe(0, 0, 1.0)
    fit.observe(1, 0, 1.0)
    assert fit.time is None
    assert fit.capacity_per_s(10) is None
    assert not fit.is_known
    assert ServiceTime(0, 0).capacity_per_s(10) == float("inf")
