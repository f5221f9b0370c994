"""Against river's ADWIN, and a window that keeps every value."""

import random
from collections.abc import Iterator
from math import log, sqrt
from typing import Any

import pytest

from streamd.drifts.adwin import Adwin

river = pytest.importorskip("river.drift")
near = pytest.approx


def shares(seed: int) -> Iterator[bool]:
    rnd = random.Random(seed)  # noqa: S311 - the same values in every run
    for share in (0.1, 0.4, 0.35):
        for _ in range(900):
            yield rnd.random() < share


def steps(seed: int) -> Iterator[float]:
    rnd = random.Random(seed)  # noqa: S311 - the same values in every run
    for level in (0.0, 0.05 * seed, -1.0):
        for _ in range(900):
            yield rnd.gauss(level, 0.2)


def ramp(seed: int) -> Iterator[float]:
    rnd = random.Random(seed)  # noqa: S311 - the same values in every run
    for number in range(2500):
        yield rnd.gauss(number * 1e-4 * seed, 0.1)


@pytest.mark.parametrize("series", [shares, steps, ramp])
@pytest.mark.parametrize("seed", [1, 3, 8])
@pytest.mark.parametrize("confidence", [0.002, 0.3])
def test_the_window_and_the_first_change_are_those_of_river(
    series: Any, seed: int, confidence: float
) -> None:
    detector, other = Adwin(10, 0.0, confidence), river.ADWIN(delta=confidence)
    model = detector.new()
    for value in series(seed):
        change = detector.see(model, float(value), is_share=True)
        other.update(float(value))
        assert (change is not None) == other.drift_detected
        if change is not None:
            return
        assert model.width == other.width
        assert sum(model.totals) == near(other.estimation * other.width, abs=1e-9)
        spread = sum(model.squares_of) + sum(
            (total - count * other.estimation) ** 2 / count
            for count, total in zip(model.counts(), model.totals, strict=True)
        )
        assert spread == near(other.variance, abs=1e-9)  # river divides it when it compares
    assert (series, seed) == (ramp, 1)


def distinct(values: list[float], older: int, rarity: float) -> float:
    """How much further than by chance the means of both parts are apart."""
    newer, mean = len(values) - older, sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    sparse = 1 / (older - 4) + 1 / (newer - 4)
    apart = abs(sum(values[:older]) / older - sum(values[older:]) / newer)
    return apart / (sqrt(2 * sparse * variance * rarity) + 2 / 3 * sparse * rarity)


def add_bucket(buckets: list[int]) -> None:
    """The sizes of buckets, oldest first, after another value."""
    buckets.append(1)
    size = 1
    while buckets.count(size) > 5:
        oldest = buckets.index(size)
        buckets[oldest : oldest + 2] = [2 * size]
        size *= 2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_values_before_the_most_distinct_division_are_dropped(seed: int) -> None:
    detector = Adwin(10)
    model = detector.new()
    kept: list[float] = []
    buckets: list[int] = []
    changes = since = 0
    for number, value in enumerate([*steps(4), *shares(seed), *steps(9)]):
        kept.append(float(value))
        since += 1
        add_bucket(buckets)
        change = detector.see(model, float(value), is_share=True)
        if change is None:
            continue
        changes += 1
        assert (number + 1) % 32 == 0
        before, after = kept[: -change.values_after], kept[-change.values_after :]
        assert change.before == near(sum(before) / len(before))
        assert change.after == near(sum(after) / len(after))
        assert change.values_before == len(before) == since - change.values_after
        rarity = log(2 * log(len(kept)) / 0.002)
        ends = [sum(buckets[:n]) for n in range(len(buckets))]
        most = max(distinct(kept, end, rarity) for end in ends if 5 <= end <= len(kept) - 5)
        assert distinct(kept, len(before), rarity) == near(most)
        assert most > 1
        kept, since = after, len(after)
        buckets = buckets[ends.index(len(before)) :]
    assert 5 <= changes <= 7


def test_a_window_of_many_values_has_few_buckets() -> None:
    detector = Adwin(10)
    model = detector.new()
    for number in range(20_000):
        detector.see(model, number % 2, is_share=True)
    assert model.width == 20_000 == sum(model.counts())
    assert max(model.sizes) <= 5
    assert len(model.totals) <= 5 * 13
    assert sorted(model.counts(), reverse=True) == list(model.counts())


def test_numbers_are_measured_by_the_reference_whatever_their_unit() -> None:
    found = []
    for unit, offset in ((1.0, 0.0), (1e-6, 5.0), (1e6, -1e9)):
        detector = Adwin(50)
        model = detector.new()
        changes = [detector.see(model, offset + unit * value) for value in steps(20)]
        found.append([(number, one) for number, one in enumerate(changes) if one is not None])
    first = found[0]
    assert len(first) == 2
    for (unit, offset), other in zip(((1e-6, 5.0), (1e6, -1e9)), found[1:], strict=True):
        for (number, change), (its, its_change) in zip(first, other, strict=True):
            assert (number, change[2:]) == (its, its_change[2:])
            assert its_change[:2] == near([offset + unit * level for level in change[:2]])


def test_the_first_change_of_numbers_counts_those_of_the_reference_too() -> None:
    detector = Adwin(50)
    model = detector.new()
    change, *_ = filter(None, (detector.see(model, value) for value in [0.0, 1.0] * 100 + [5.0, 6.0] * 100))
    assert change.values_before == near(200, abs=4)  # the division is between two buckets
    assert change.before == near(0.5)
    assert change.after == near(5.5, abs=0.5)
