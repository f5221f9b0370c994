import random

import pytest

from streamd.bench.median_interval import median_interval


@pytest.mark.parametrize(("count", "place"), [(6, 0), (8, 0), (9, 1), (12, 2), (20, 5)])
def test_the_places_are_those_of_the_tables(count: int, place: int) -> None:
    # Conover, table A3: the largest place whose binomial tail is at most 0.025
    values = [float(value) for value in range(count)]
    random.Random(count).shuffle(values)  # noqa: S311 - the same in every run
    assert median_interval(values) == (place, count - 1 - place)


@pytest.mark.parametrize("count", range(6))
def test_too_few_values_are_not_sure(count: int) -> None:
    assert median_interval([1.0] * count) is None


def test_less_confidence_is_a_narrower_interval() -> None:
    values = [float(value) for value in range(9)]
    assert median_interval(values, 0.8) == (2, 6)
    assert median_interval(values, 0.999) is None


def test_it_holds_the_median_as_often_as_it_says() -> None:
    draw = random.Random(3)  # noqa: S311 - the same in every run
    hits = 0
    for _ in range(2000):
        found = median_interval([draw.expovariate(1.0) for _ in range(12)])
        assert found is not None
        hits += found[0] <= 0.6931 <= found[1]
    assert 0.95 <= hits / 2000 <= 0.98  # 0.961 for 12 values
