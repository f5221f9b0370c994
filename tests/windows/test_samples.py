import math
import random
import statistics
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.windows.samples import ACCURACY, MOST_BUCKETS, MOST_EXACT, Samples

RANKS = (1, 25, 50, 90, 99, 99.9, 100)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def of(values: list[float], weight: float = 1.0) -> Samples:
    samples = Samples()
    for value in values:
        samples.add(value, weight)
    return samples


def nearest(values: list[float], rank: float) -> float:
    """The percentile by its definition."""
    return sorted(values)[max(math.ceil(len(values) * rank / 100 - 1e-9), 1) - 1]


@settings(max_examples=100)
@given(st.lists(st.integers(-1000, 1000).map(float), min_size=1, max_size=60))
def test_few_values_are_exact(values: list[float]) -> None:
    samples = of(values)
    assert samples.percentiles(RANKS) == [nearest(values, rank) for rank in RANKS]
    assert (samples.count, samples.total) == (len(values), sum(values))
    assert (samples.least, samples.greatest) == (min(values), max(values))
    assert samples.mean == pytest.approx(statistics.fmean(values), abs=1e-9)
    assert samples.deviation == pytest.approx(statistics.pstdev(values), abs=1e-6)


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_percentiles_of_many_values_are_within_one_percent(spread: float) -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    values = [chance.lognormvariate(3, spread) for _ in range(5000)]
    values += [0.0] * 50 + [-value for value in values[:500]]
    for rank, found in zip(RANKS, of(values).percentiles(RANKS), strict=True):
        assert found == pytest.approx(nearest(values, rank), rel=ACCURACY * 1.0001, abs=0), rank


def test_a_weight_is_as_good_as_repetition() -> None:
    chance = random.Random(8)  # noqa: S311 - no secret
    values = [float(chance.randrange(1, 500)) for _ in range(100)]
    once, often = of(values, 10.0), of(values * 10)
    assert once.percentiles(RANKS) == pytest.approx(often.percentiles(RANKS), rel=ACCURACY * 2.1)
    assert once.count == often.count
    assert once.total == pytest.approx(often.total)
    assert once.mean == pytest.approx(often.mean)
    assert once.deviation == pytest.approx(often.deviation)


def test_memory_is_bounded_and_high_percentiles_stay_right() -> None:
    values = [math.exp(n / 40) for n in range(-12_000, 12_000, 3)]
    samples = of(values)
    assert len(samples.dump()[-1]) <= MOST_BUCKETS
    assert samples.count == len(values)
    (found,) = samples.percentiles([90])
    assert found == pytest.approx(nearest(values, 90), rel=ACCURACY * 1.0001)
    found_all = samples.percentiles(range(1, 101))
    assert all(low <= high for low, high in pairwise(found_all) if low is not None and high is not None)


def test_of_no_value_nothing_is_known() -> None:
    samples = Samples()
    assert (samples.mean, samples.deviation, samples.percentiles([50])) == (None, None, [None])


@settings(max_examples=50)
@given(st.lists(FINITE, min_size=1, max_size=20), st.booleans(), st.sampled_from([1.0, 1e-300, 1e9]))
def test_the_greatest_numbers_break_nothing(values: list[float], many: bool, weight: float) -> None:
    samples = of(values * (MOST_EXACT // len(values) + 1 if many else 1), weight)
    for found in (*samples.percentiles(RANKS), samples.mean, samples.deviation):
        assert found is None or math.isfinite(found)
    assert samples.percentiles([100])[0] is not None


@pytest.mark.parametrize("count", [3, MOST_EXACT + 50])
def test_a_stored_state_goes_on_as_if_nothing_had_been(count: int) -> None:
    one = of([n / 7 for n in range(count)], 2.5)
    other = Samples.load(one.dump())
    for samples in (one, other):
        samples.add(-3.0, 1.0)
    assert other.dump() == one.dump()
    with pytest.raises(ValueError, match="unpack"):
        Samples.load([1.0, [], []])
