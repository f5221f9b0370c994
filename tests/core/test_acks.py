"""However a batch is cut, merged and sorted, each ack settles once, with the worst verdict on its rows."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.ack import Ack, Status
from streamd.core.acks import Acks
from streamd.core.tenure import InputPart, Tenure


class Sender:
    """Waits for the fate of some rows."""

    def __init__(self) -> None:
        self.told: list[Status] = []
        self.ack = Ack(self.told.append)


def runs(*counts: int) -> tuple[Acks, list[Sender]]:
    senders = [Sender() for _ in counts]
    return Acks([(n, sender.ack) for n, sender in zip(counts, senders, strict=True)]), senders


def test_a_rejected_row_is_the_affair_of_its_own_sender() -> None:
    acks, senders = runs(2, 3, 1)
    acks.settle_rows([(Status.REJECTED, [3, 4])], Status.DELIVERED)
    assert [sender.told for sender in senders] == [
        [Status.DELIVERED], [Status.REJECTED], [Status.DELIVERED],
    ]  # fmt: skip


def test_a_sender_hears_the_worst_of_two_fates() -> None:
    acks, senders = runs(2, 3, 1)
    acks.settle_rows([(Status.DROPPED, [3]), (Status.REJECTED, [0, 4])], Status.DELIVERED)
    assert [sender.told for sender in senders] == [
        [Status.REJECTED], [Status.DROPPED], [Status.DELIVERED],
    ]  # fmt: skip


def test_a_run_that_is_cut_settles_when_both_parts_have() -> None:
    acks, (first, second) = runs(2, 3)
    head, tail = acks.split(3)
    assert ([n for n, _ in head.runs], [n for n, _ in tail.runs]) == ([2, 1], [2])
    head.settle(Status.DELIVERED)
    assert (first.told, second.told) == ([Status.DELIVERED], [])
    tail.settle(Status.DROPPED)
    assert second.told == [Status.DROPPED]


def test_a_cut_between_two_runs_leaves_each_of_them_in_one_part() -> None:
    acks, (first, second) = runs(2, 3)
    head, tail = acks.split(2)
    assert ([n for n, _ in head.runs], [n for n, _ in tail.runs]) == ([2], [3])
    head.settle(Status.DELIVERED)
    assert (first.told, second.told) == ([Status.DELIVERED], [])


def test_each_holder_more_is_waited_for_and_where_nobody_waits_none_is() -> None:
    first, third = Sender(), Sender()
    acks = Acks([(1, first.ack), (2, None), (1, third.ack)])
    assert acks.fork(2) is acks
    for status in (Status.DELIVERED, Status.REJECTED, Status.DELIVERED):
        assert (first.told, third.told) == ([], [])
        acks.settle(status)
    assert (first.told, third.told) == ([Status.REJECTED], [Status.REJECTED])


def test_one_of_which_nothing_was_made_is_filtered() -> None:
    acks, (first, second, third) = runs(1, 2, 1)
    made = acks.of_origins([0, 0, 3])
    assert made is not None
    assert [n for n, _ in made.runs] == [2, 1]
    assert (first.told, second.told, third.told) == ([], [Status.FILTERED], [])
    acks, senders = runs(1, 1)
    assert acks.of_origins([]) is None
    assert [sender.told for sender in senders] == [[Status.FILTERED]] * 2


def test_one_that_may_be_part_of_the_next_row_waits_for_its_fate() -> None:
    acks, senders = runs(1, 1, 2, 1)
    made = acks.of_origins([2, 3], together=True)
    assert made is not None
    assert [n for n, _ in made.runs] == [2]
    assert not any(sender.told for sender in senders)
    made.settle(Status.DROPPED)
    assert [sender.told for sender in senders] == [[Status.DROPPED]] * 4
    acks, senders = runs(1, 1)
    assert acks.of_origins([], together=True) is None
    assert [sender.told for sender in senders] == [[Status.FILTERED]] * 2


def test_nobody_waits_for_what_was_merged_of_nobody() -> None:
    assert Acks.merge([(None, 2), (None, 1)]) is None
    assert Acks.same(None, 3) is None
    acks, _ = runs(2)
    merged = Acks.merge([(None, 1), (acks, 2)])
    assert merged is not None
    assert [(start, stop, ack is None) for start, stop, ack in merged] == [(0, 1, True), (1, 3, False)]


def hand_on(acks: Acks | None, rows: list[int], verdict: Callable[[int], Status], random: Random) -> None:
    """Settle some rows as the parts of a daemon do: cut, forked, sorted out, merged."""
    if acks is None:
        return
    match random.choice(["settle", "cut", "fork", "sort"]) if len(rows) > 1 else "settle":
        case "cut":
            cut = random.randrange(1, len(rows))
            for part, its in zip(acks.split(cut), (rows[:cut], rows[cut:]), strict=True):
                hand_on(part, its, verdict, random)
        case "fork":
            acks.fork()
            for _ in range(2):
                hand_on(acks, rows, verdict, random)
        case "sort":
            odd = [n for n in range(len(rows)) if random.random() < 0.5]
            even = [n for n in range(len(rows)) if n not in odd]
            parts = [part for part in (odd, even) if part]
            for part, chosen in zip(acks.sorted_out(parts), parts, strict=True):
                hand_on(part, [rows[n] for n in chosen], verdict, random)
        case _:
            bad = [n for n, row in enumerate(rows) if verdict(row) == Status.REJECTED]
            acks.settle_rows([(Status.REJECTED, bad)], Status.DELIVERED)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.sets(st.integers(0, 19)), st.randoms())
def test_every_sender_hears_once_the_worst_of_its_own_rows(
    counts: list[int], bad: set[int], random: Random
) -> None:
    acks, senders = runs(*counts)
    count = sum(counts)
    hand_on(acks, list(range(count)), lambda row: Status.REJECTED if row in bad else Status.DELIVERED, random)
    first = 0
    for n, sender in zip(counts, senders, strict=True):
        worst = Status.REJECTED if bad.intersection(range(first, first + n)) else Status.DELIVERED
        assert sender.told == [worst]
        first += n


def test_dead_letters_of_rows_hold_the_acks_of_their_own_runs_only() -> None:
    acks, (first, second) = runs(2, 2)
    letters = acks.fork_at([2, 3])
    acks.settle(Status.DELIVERED)
    assert (first.told, second.told) == ([Status.DELIVERED], [])
    letters.settle(Status.REJECTED)
    assert second.told == [Status.REJECTED]
    with pytest.raises(RuntimeError):
        letters.settle(Status.REJECTED)


def test_frames_that_are_cut_are_two_parts_of_the_input_and_records_one() -> None:
    told: list[Status] = []
    tenure = Tenure("log")
    acks = Acks([(5, Ack(told.append, InputPart(tenure, 10, frames=5)))])
    head, tail = acks.split(2, of_frames=True)
    assert [ack.origin for _, ack in head.runs if ack is not None] == [InputPart(tenure, 10, frames=2)]
    assert [ack.origin for _, ack in tail.runs if ack is not None] == [InputPart(tenure, 12, frames=3)]
    parts = tail.split(1)
    assert {ack.origin for part in parts for _, ack in part.runs if ack is not None} == {
        InputPart(tenure, 12, frames=3)
    }
    for part in (head, *parts):
        assert told == []
        part.settle(Status.FILTERED)
    assert told == [Status.FILTERED]


def test_frames_without_numbers_that_are_cut_stay_one_part_of_the_input() -> None:
    told: list[Status] = []
    part = InputPart(Tenure("readings.1"), 10)
    parts = Acks([(5, Ack(told.append, part))]).split(2, of_frames=True)
    assert [ack.origin for acks in parts for _, ack in acks.runs if ack is not None] == [part, part]
    for acks in parts:
        assert told == []
        acks.settle(Status.DELIVERED)
    assert told == [Status.DELIVERED]


def test_rows_are_taken_up_to_the_end_of_a_part_of_the_input() -> None:
    part = Ack(lambda _: None, InputPart(Tenure("log"), 1, frames=4))
    acks = Acks([(3, None), (4, part), (2, Ack(lambda _: None))])
    cuts = [(0, 0), (1, 1), (2, 2), (3, 3), (3, 7), (3, 7), (3, 7), (7, 7), (8, 8), (9, 9)]
    assert [acks.whole(count) for count in range(10)] == cuts
    assert [acks.whole(count, of_frames=True) for count in range(10)] == [(n, n) for n in range(10)]
    unnumbered = Acks([(2, None), (3, Ack(lambda _: None, InputPart(Tenure("readings.1"), 10)))])
    cuts = [(1, 1), (2, 2), (2, 5), (2, 5), (5, 5)]
    assert [unnumbered.whole(count, of_frames=True) for count in range(1, 6)] == cuts


def test_acks_without_origins_settle_as_the_others() -> None:
    told: list[Status] = []
    acks = Acks(
        [(2, Ack(told.append, InputPart(Tenure("log"), 1, frames=2))), (1, None), (1, Ack(told.append))]
    )
    without = acks.without_origins()
    assert [ack is None or ack.origin is None for _, ack in without.runs] == [True] * 3
    assert [count for count, _ in without.runs] == [2, 1, 1]
    without.settle(Status.DELIVERED)
    assert told == [Status.DELIVERED] * 2
