import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.dynamics.spread import Spread


def observed(counts: list[int], *, is_working: bool = True, every_s: float = 0.5) -> list[float]:
    spread = Spread()
    return [spread.observe(n * every_s, left, is_working=is_working) for n, left in enumerate(counts)]


def test_what_is_taken_every_two_seconds_is_spread_over_two_seconds() -> None:
    counts = [0, 100, 100, 100, 100, 200, 200, 200, 200, 300]
    assert observed(counts) == [0, 100, 100, 100, 100, 125, 150, 175, 200, 225]


def test_what_is_taken_at_every_look_stays_as_it_is() -> None:
    counts = [0, 100, 250, 300, 1000]
    assert observed(counts) == counts


def test_what_an_idle_stage_takes_is_not_spread() -> None:
    counts = [0, 100, 100, 100, 100, 200]
    assert observed(counts, is_working=False) == counts


def test_a_batch_that_ends_early_has_left_when_the_next_is_taken() -> None:
    assert observed([0, 100, 100, 100, 100, 200, 300, 300])[5:] == [125, 300, 300]


def test_a_stage_that_stands_still_for_long_is_not_taken_for_a_slow_one() -> None:
    counts = [0, 100, *[100] * 50, 200]
    assert observed(counts)[-1] == 200


@given(st.lists(st.tuples(st.integers(0, 500), st.booleans()), max_size=50))
def test_it_never_falls_and_never_exceeds_the_counter(steps: list[tuple[int, bool]]) -> None:
    spread = Spread()
    left, last = 0, 0.0
    for n, (taken, is_working) in enumerate(steps):
        left += taken
        smoothed = spread.observe(n * 0.5, left, is_working=is_working)
        assert last - 1e-6 <= smoothed <= left + 1e-6
        last = smoothed
    if steps:
        assert spread.observe(len(steps) * 0.5 + 30, left, is_working=True) == pytest.approx(left)
