"""However an input is read again, and however its records are cut into batches, each is stored once."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.ack import Ack
from streamd.core.acks import Acks
from streamd.core.batch import Batch
from streamd.core.contracts import Written
from streamd.core.tenure import BEGINNING, InputPart, StoredUpTo, Tenure
from streamd.positions.stored_parts import ALREADY_STORED, HANDED_OVER, SortedOut, StoredParts


def batch(tenure: Tenure | None, *parts: tuple[int, int], pipeline: str = "p") -> Batch:
    """Records `number:row` of some parts, each given as its number and how many records."""
    words: list[str] = []
    runs: list[tuple[int, Ack | None]] = []
    for number, count in parts:
        words += [f"{number}:{row}" for row in range(count)]
        origin = None if tenure is None else InputPart(tenure, number)
        runs.append((count, Ack(lambda _: None, origin)))
    made = Batch.of([{"word": word} for word in words], "s", pipeline, "readings.1", 1.0, size_bytes=100)
    made.acks = Acks(runs)
    return made


def words(found: SortedOut) -> list[str]:
    return [batch.record(n)["word"] for batch in found.batches for n in range(len(batch))]


def begun(tenure: Tenure, position: StoredUpTo = BEGINNING) -> StoredParts:
    positions = StoredParts()
    positions.begin((tenure, "p"), position)
    return positions


def test_what_nobody_has_stored_goes_through_unchanged_and_moves_the_position() -> None:
    tenure = Tenure("x")
    given_batch = batch(tenure, (4, 2), (5, 3))
    found = begun(tenure, StoredUpTo(3, 9)).sort_out([given_batch])
    assert found.batches == [given_batch]
    assert found.left_out == 0
    assert found.moves == {(tenure, "p"): StoredUpTo(5, 3)}
    part = Written([[1]], [2])
    assert found.written(part) is part


def test_stored_parts_and_stored_rows_of_a_part_are_left_out() -> None:
    tenure = Tenure("x")
    found = begun(tenure, StoredUpTo(5, 2)).sort_out([batch(tenure, (4, 2), (5, 4)), batch(tenure, (6, 1))])
    assert words(found) == ["5:2", "5:3", "6:0"]
    whole = found.written(Written([[1], [0]], [1, 0]))
    assert whole.rejected == [[5], [0]]
    assert whole.replaced == [1, 0]
    assert whole.left_out == [dict.fromkeys(range(4), ALREADY_STORED), {}]


def test_a_batch_of_which_all_is_stored_is_left_out_and_the_position_stays() -> None:
    tenure = Tenure("x")
    found = begun(tenure, StoredUpTo(9, 1)).sort_out([batch(tenure, (4, 2)), batch(tenure, (9, 2))])
    assert words(found) == ["9:1"]
    assert found.moves == {(tenure, "p"): StoredUpTo(9, 2)}
    whole = found.written(Written([[]], [0], dropped=[{0: "closed"}]))
    assert whole.left_out == [dict.fromkeys(range(2), ALREADY_STORED), {0: ALREADY_STORED}]
    assert whole.dropped == [{}, {1: "closed"}]


def test_a_part_whose_records_come_in_several_batches_is_counted_on() -> None:
    tenure = Tenure("x")
    positions = begun(tenure, StoredUpTo(7, 3))
    first = positions.sort_out([batch(tenure, (7, 2))])
    assert words(first) == []
    positions.stored(first)
    assert words(positions.sort_out([batch(tenure, (7, 2))])) == ["7:1"]


def test_nothing_is_known_as_stored_before_the_commit() -> None:
    tenure = Tenure("x")
    positions = begun(tenure)
    assert words(positions.sort_out([batch(tenure, (1, 2))])) == ["1:0", "1:1"]
    again = positions.sort_out([batch(tenure, (1, 2))])
    assert words(again) == ["1:0", "1:1"]
    assert again.moves == {(tenure, "p"): StoredUpTo(1, 2)}


@pytest.mark.parametrize("how", ["ended", "unknown", "replaced", "another pipeline"])
def test_a_tenure_that_is_over_stores_nothing(how: str) -> None:
    tenure, other = Tenure("x"), Tenure("y")
    positions = begun(tenure)
    positions.begin((other, "p"), BEGINNING)
    tenure.ended = how == "ended"
    if how == "replaced":
        positions.begin((Tenure("x"), "p"), BEGINNING)
    late = batch(Tenure("x") if how == "unknown" else tenure, (1, 2))
    late.pipeline = "q" if how == "another pipeline" else "p"
    mixed = positions.sort_out([late, batch(other, (3, 1)), batch(None, (1, 1))])
    assert words(mixed) == ["3:0", "1:0"]
    assert mixed.moves == {(other, "p"): StoredUpTo(3, 1)}
    assert mixed.written(Written.whole(2)).left_out == [dict.fromkeys(range(2), HANDED_OVER), {}, {}]


def test_records_without_an_origin_are_always_stored() -> None:
    plain = Batch.of([{"word": "a"}], "s", "p", "x", 1.0)
    found = StoredParts().sort_out([plain, batch(None, (1, 1))])
    assert found.batches[0] is plain
    assert words(found) == ["a", "1:0"]
    assert found.moves == {}


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(0, 2**32))
def test_any_cuts_and_any_restarts_store_each_record_once_and_in_order(counts: list[int], seed: int) -> None:
    random = Random(seed)  # noqa: S311 - no secret
    every = [f"{number}:{row}" for number, count in enumerate(counts, 1) for row in range(count)]
    stored: list[str] = []
    position = BEGINNING
    while True:
        tenure = Tenure("x")
        positions = begun(tenure, position)
        begin = random.randint(1, max(1, position.number))
        pieces = []
        for number, count in enumerate(counts, 1):
            if number >= begin and count:
                cut = random.randint(0, count)
                pieces += [(number, 0, cut), (number, cut, count)]
        stop = random.randint(0, len(pieces)) if random.random() < 0.8 else len(pieces)
        for number, start, end in pieces[:stop]:
            if start == end:
                continue
            whole = batch(tenure, (number, end))
            cut_off = whole if not start else whole.split(start)[1]
            for _ in range(random.randint(1, 2)):  # the first commit may fail
                found = positions.sort_out([cut_off])
            stored += words(found)
            positions.stored(found)
            position = found.moves[tenure, "p"]
        if stop == len(pieces):
            break
    assert stored == every


def test_input_that_nobody_else_reads_is_stored_as_any_other_until_its_positions_are_known() -> None:
    tenure = Tenure("log", is_shared=False)
    given_batch = batch(tenure, (4, 2))
    found = StoredParts().sort_out([given_batch])
    assert (found.batches, found.left_out, found.moves) == ([given_batch], 0, {})
    assert begun(tenure, StoredUpTo(5, 0)).sort_out([given_batch]).left_out == 2
