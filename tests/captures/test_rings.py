import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.captures.packing import Packing
from streamd.captures.rings import CHUNK, ENTRY_BYTES, Ring, Rings, is_flagged, moment_of
from streamd.windows.moments import NEVER

PACKING = Packing(None)


def packed(moment_us: int, number: int = 0, *, flagged: bool = False) -> bytes:
    found = PACKING.pack({"n": number}, moment_us << 1 | flagged)
    assert found is not None
    return found


def times(entries: list[bytes]) -> list[int]:
    return [moment_of(one) for one in entries]


SIZE = len(packed(1)) + ENTRY_BYTES


class Model:
    """The same rules without any cleverness."""

    def __init__(self, before_us: int, max_records: int, most: int) -> None:
        self.before_us, self.max_records, self.most = before_us, max_records, most
        self.kept: list[tuple[int, int]] = []
        self.lost_us = [NEVER, NEVER]

    def add(self, key: int, at: int) -> None:
        while (its := self.of(key)) and its[0] < at - self.before_us:
            self.lose(key, its[0])
        if len(its := self.of(key)) >= self.max_records:
            self.lose(key, its[0])
        self.kept.append((key, at))
        while len(self.kept) > self.most:
            self.lose(*self.kept[0])

    def lose(self, key: int, at: int) -> None:
        self.kept.remove((key, at))
        self.lost_us[key] = max(self.lost_us[key], at)

    def of(self, key: int) -> list[int]:
        return [at for one, at in self.kept if one == key]


DOINGS = st.sampled_from(["add", "add", "add", "add", "forget", "again"])
STEPS = st.lists(st.tuples(DOINGS, st.sampled_from([0, 1]), st.integers(-3, 9)), max_size=80)


@given(steps=STEPS, before=st.integers(0, 30), most_each=st.integers(1, 9), most=st.integers(1, 12))
def test_records_are_forgotten_by_age_by_number_and_by_size(
    steps: Any, before: int, most_each: int, most: int
) -> None:
    rings, two = Rings(before, most_each, SIZE * most), [Ring(), Ring()]
    model = Model(before, most_each, most)
    at = 100
    for what, key, more in steps:
        at += more
        if what == "add":
            rings.add(two[key], packed(at), at)
            model.add(key, at)
        elif what == "forget":
            rings.forget(two[key])
            model.kept = [one for one in model.kept if one[0] != key]
        else:
            rings.tidy()
            chunks = list(rings.chunks(two))
            order = [two.index(ring) for ring in rings.order]
            rings, two = Rings(before, most_each, SIZE * most), [Ring.of_stored(one.stored()) for one in two]
            rings.restore(two, chunks, order)
        assert [times(ring.live()) for ring in two] == [model.of(0), model.of(1)]
        assert [ring.lost_us for ring in two] == model.lost_us
        assert (rings.count, rings.size_bytes) == (len(model.kept), SIZE * len(model.kept))


@pytest.mark.parametrize("is_ordered", [True, False])
def test_the_records_of_a_span_are_taken_and_the_others_stay(is_ordered: bool) -> None:
    rings, ring = Rings(100, 99, 10**6), Ring()
    order = [1, 2, 3, 3, 4, 5, 6] if is_ordered else [1, 3, 2, 6, 3, 5, 4]
    for at in order:
        rings.add(ring, packed(at), at)
    assert sorted(times(rings.take(ring, 3, 5))) == [3, 3, 4, 5]
    assert sorted(times(ring.live())) == [1, 2, 6]
    assert (rings.count, rings.size_bytes) == (3, 3 * SIZE)
    rings.add(ring, packed(7), 7)
    assert times(rings.take(ring, 7, 9)) == [7]
    assert rings.take(ring, 7, 9) == []
    assert sorted(times(rings.take(ring, 0, 9))) == [1, 2, 6]
    assert (rings.count, rings.size_bytes) == (0, 0)


def test_restored_records_that_are_out_of_order_are_taken_too() -> None:
    rings, ring = Rings(100, 99, 10**6), Ring()
    rings.restore([ring], [(0, [packed(at) for at in (5, 2, 4, 9, 3)])], [0] * 5)
    assert times(rings.take(ring, 3, 5)) == [5, 4, 3]
    assert times(ring.live()) == [2, 9]


def test_a_record_that_is_larger_than_all_memory_is_lost_and_displaces_no_other() -> None:
    rings, ring = Rings(100, 99, SIZE), Ring()
    rings.add(ring, packed(1), 1)
    rings.add(ring, packed(2) + bytes(9), 2)
    assert times(ring.live()) == [1]
    assert (rings.lost, ring.lost_us) == (1, 2)


def test_places_of_records_that_are_gone_do_not_pile_up() -> None:
    rings, silent, busy = Rings(5, 99, 10**9), Ring(), Ring()
    rings.add(silent, packed(0), 0)
    for at in range(20_000):
        rings.add(busy, packed(at), at)
    assert rings.count == 7
    assert len(rings.order) < 1100
    assert len(busy.entries) < 100


def test_a_state_comes_in_chunks_of_limited_size_in_the_order_of_arrival() -> None:
    rnd = random.Random(1)  # noqa: S311 - the same in every run
    rings, every = Rings(10**9, 10**6, 10**9), [Ring() for _ in range(3)]
    for at in range(3 * CHUNK):
        rings.add(rnd.choice(every), packed(at), at)
    chunks = list(rings.chunks(every))
    assert max(len(one) for _, one in chunks) == CHUNK
    assert sum(len(one) for _, one in chunks) == 3 * CHUNK
    other, again = Rings(10**9, 10**6, SIZE * 100), [Ring() for _ in range(3)]
    other.restore(again, chunks, [every.index(ring) for ring in rings.order])
    other.add(again[0], packed(10**6), 10**6)
    kept = sorted(at for ring in again for at in times(ring.live()))
    assert kept == [*range(3 * CHUNK - 99, 3 * CHUNK), 10**6]


def test_a_mark_holds_the_time_and_the_flag() -> None:
    for at in (-62_135_596_800_000_000, -1, 0, 253_402_300_799_999_999):
        for flagged in (False, True):
            one = packed(at, flagged=flagged)
            assert (moment_of(one), is_flagged(one)) == (at, flagged)


@pytest.mark.parametrize(
    ("chunks", "order"),
    [([(0, [b"x" * 9])], []), ([], [0]), ([(1, [b"x" * 9])], [1]), ([(-1, [b"x" * 9])], [-1])],
)
def test_a_state_that_does_not_fit_together_is_refused(chunks: Any, order: Any) -> None:
    with pytest.raises(ValueError, match="order of the records"):
        Rings(1, 1, 1000).restore([Ring()], chunks, order)
