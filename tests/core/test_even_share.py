"""Processes that accept from one socket take connections in such numbers that all have about the same."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.even_share import AWAY, EvenShare, share


@pytest.mark.parametrize(
    ("opened", "own", "waiting", "expected"),
    [
        ([0, 0], 0, 1, 1),
        ([0, 0], 1, 1, 1),
        ([1, 0], 0, 1, 0),
        ([1, 0], 1, 1, 1),
        ([1, 0], 0, 2, 1),
        ([5, 5, 2], 2, 3, 3),
        ([5, 5, 2], 0, 3, 0),
        ([5, 5, 2], 0, 4, 1),
        ([9, AWAY], 0, 4, 4),
        ([AWAY, 3], 0, 2, 2),
        ([3], 0, 7, 7),
        ([2, 2], 0, 0, 0),
    ],
)
def test_those_with_the_fewest_take_all_until_they_have_as_many_as_the_next(
    opened: list[int], own: int, waiting: int, expected: int
) -> None:
    assert share(opened, own, waiting) == expected


@given(st.lists(st.integers(AWAY, 12), min_size=1, max_size=6), st.integers(0, 40))
def test_taking_turns_all_waiting_ones_are_taken_and_nobody_exceeds_the_common_level(
    opened: list[int], waiting: int
) -> None:
    present = [place for place, number in enumerate(opened) if number != AWAY]
    if not present:
        return
    level, before = _level([opened[place] for place in present], waiting), list(opened)
    for place in present:
        taken = share(opened, place, waiting)
        assert 0 <= taken <= waiting
        opened[place] += taken
        waiting -= taken
    assert waiting == 0
    assert all(opened[place] <= max(level, before[place]) for place in present)


def _level(numbers: Sequence[int], waiting: int) -> int:
    """Found by giving one at a time to whoever has the fewest."""
    found = list(numbers)
    for _ in range(waiting):
        found[found.index(min(found))] += 1
    return max(found) if waiting else min(found)


def test_a_process_sees_what_the_others_note() -> None:
    opened = [0, AWAY]
    one, other = EvenShare(opened, 0), EvenShare(opened, 1)
    assert one.of(4) == 4
    other.note(0)
    assert one.of(4) == other.of(4) == 2
    one.note(3)
    assert (one.of(1), other.of(1)) == (0, 1)
    other.note(AWAY)
    assert one.of(1) == 1
