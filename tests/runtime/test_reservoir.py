import random
from collections import Counter

import pytest

from streamd.runtime.reservoir import Reservoir


def chosen(reservoir: Reservoir, batches: list[int]) -> dict[int, int]:
    """The number of the item that is in each slot after all batches."""
    slots: dict[int, int] = {}
    for count in batches:
        begin = reservoir.offered
        for place, slot in reservoir.offer(count):
            assert 0 <= place < count
            slots[slot] = begin + place
    return slots


@pytest.mark.parametrize("batches", [[3], [1, 1, 1], [0, 2, 0, 1], []])
def test_few_items_are_all_chosen(batches: list[int]) -> None:
    slots = chosen(Reservoir(5, random.Random(1).random), batches)  # noqa: S311 - no secret
    assert slots == {n: n for n in range(sum(batches))}


@pytest.mark.parametrize("batches", [[100], [1] * 100, [7, 50, 1, 42], [5, 95], [4, 96]])
def test_each_item_has_the_same_chance_wherever_it_is_in_its_batch(batches: list[int]) -> None:
    draw = random.Random(2).random  # noqa: S311 - no secret
    runs, size = 4000, 5
    counts: Counter[int] = Counter()
    for _ in range(runs):
        slots = chosen(Reservoir(size, draw), batches)
        assert len(set(slots.values())) == size
        counts.update(slots.values())
    expected = runs * size / 100
    spread = sum((counts[n] - expected) ** 2 / expected for n in range(100))
    assert spread < 150, "chi-square with 99 degrees of freedom: 99.95 % are below 152"


def test_the_first_items_are_kept_if_no_sample_is_wanted() -> None:
    slots = chosen(Reservoir(3, random.Random(1).random, first=True), [2, 50, 50])  # noqa: S311 - no secret
    assert slots == {0: 0, 1: 1, 2: 2}


def test_a_cleared_reservoir_begins_anew() -> None:
    reservoir = Reservoir(2, random.Random(1).random)  # noqa: S311 - no secret
    chosen(reservoir, [1000])
    reservoir.clear(3)
    assert reservoir.offered == 0
    assert chosen(reservoir, [3]) == {0: 0, 1: 1, 2: 2}


def test_a_cleared_reservoir_is_as_fair_as_a_new_one() -> None:
    reservoir = Reservoir(5, random.Random(4).random)  # noqa: S311 - no secret
    late = 0
    for _ in range(200):
        chosen(reservoir, [100_000])
        reservoir.clear(5)
        late += sum(number >= 50 for number in chosen(reservoir, [100]).values())
        reservoir.clear(5)
    assert 400 < late < 600


def test_no_slots_choose_nothing() -> None:
    assert chosen(Reservoir(0, random.Random(1).random), [10]) == {}  # noqa: S311 - no secret


def test_the_work_grows_with_the_chosen_items_only() -> None:
    draws = 0
    draw = random.Random(3).random  # noqa: S311 - no secret

    def counted() -> float:
        nonlocal draws
        draws += 1
        return draw()

    slots = chosen(Reservoir(10, counted), [1000] * 100_000)
    assert max(slots.values()) > 1_000_000
    assert draws < 1000


def test_extreme_draws_end_in_no_error() -> None:
    for value in (0.0, 1.0 - 2**-53):
        reservoir = Reservoir(1, lambda value=value: value)  # type: ignore[misc]
        assert len(list(reservoir.offer(1000))) <= 1000
