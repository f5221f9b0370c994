import random

import pytest

from streamd.dynamics.blocks import Block, Blocks, rate_per_s, variance_per_s


def of(counts: list[float], seconds: float = 1.0) -> list[Block]:
    return [Block(seconds, count) for count in counts]


def test_a_counter_is_cut_at_observations_that_are_far_enough_apart() -> None:
    blocks = Blocks(10)
    seen = ((5.0, 7), (5.3, 9), (5.5, 12), (5.6, 13), (9, 20))
    assert [blocks.observe(*one) for one in seen] == [None, None, (0.5, 5, 5.0), None, (3.5, 8, 5.5)]


def test_the_rate_is_that_of_all_seconds() -> None:
    assert rate_per_s([Block(1, 100), Block(3, 100)]) == 50
    assert rate_per_s([]) == 0


def test_few_blocks_show_no_variance() -> None:
    assert variance_per_s(of([1, 2, 3])) is None
    assert variance_per_s(of([5, 5, 5, 5])) == 0


@pytest.mark.parametrize("seconds", [0.5, 1.0, 4.0])
def test_the_variance_rate_of_independent_arrivals_does_not_depend_on_the_length_of_blocks(
    seconds: float,
) -> None:
    draw = random.Random(2)  # noqa: S311 - no secret
    counts = [draw.gauss(1000 * seconds, 50 * seconds**0.5) for _ in range(8000)]
    found = variance_per_s(of(counts, seconds))
    assert found is not None
    assert 0.95 * 50**2 < found < 1.3 * 50**2  # the largest of several


@pytest.mark.parametrize("length", [1, 2, 4, 8])
def test_bursts_show_whatever_their_length(length: int) -> None:
    counts = ([2000.0] * length + [0.0] * length) * (64 // length)
    # Over blocks as long as the bursts, half of the sums are 1000 per block above the mean, half below it.
    assert variance_per_s(of(counts)) == pytest.approx(1000**2 * length, rel=0.35)


def test_a_variance_from_few_values_is_enlarged() -> None:
    few, many = of([900, 1100] * 2), of([900, 1100] * 50)
    assert variance_per_s(few) == pytest.approx(100**2 * 4)
    assert variance_per_s(many) == pytest.approx(100**2, rel=0.05)


def test_blocks_of_different_length_count_by_their_rate() -> None:
    assert variance_per_s([Block(1, 100), Block(2, 200), Block(0.5, 50), Block(1, 100)]) == 0
