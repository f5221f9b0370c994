"""Delays of queues whose course is known, and laws that hold for every course."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.dynamics.departures import Departures, QueuePiece

SLACK = 1e-6

flows = st.lists(
    st.tuples(st.sampled_from([0.25, 1.0, 7.0]), st.integers(0, 50), st.integers(0, 50)),
    min_size=1,
    max_size=8,
)
"""(seconds, arrivals a second, what the server can take a second)."""


class Queue:
    """A queue without bounds under rates that are constant for some seconds each."""

    def __init__(self, flow: list[tuple[float, int, int]], held: float) -> None:
        self.begins: list[tuple[float, float, float]] = []
        """(second, in the queue, what the server can take) at the begin of each piece."""
        self.pieces: list[QueuePiece] = []
        now_s, begin_held = 0.0, held
        for seconds, arrives, takes in flow:
            end_s = now_s + seconds
            empty_s = now_s + held / (takes - arrives) if takes > arrives else end_s
            for until_s in sorted({min(empty_s, end_s), end_s}):
                if until_s > now_s:
                    self.begins.append((now_s, held, takes))
                    left = (takes if held > 0 else min(takes, arrives)) * (until_s - now_s)
                    after = held + arrives * (until_s - now_s) - left
                    held = 0.0 if after < SLACK else after
                    self.pieces.append(QueuePiece(now_s, left, held, is_open=takes > 0))
                    now_s = until_s
        self.end_s = now_s
        self.departures = Departures(begin_held, self.pieces, now_s)

    def served(self, begin_s: float, end_s: float) -> float:
        """What the server could have taken between two seconds."""
        edges = [*self.begins, (self.end_s, 0.0, 0.0)]
        return sum(
            takes * max(0.0, min(end_s, until_s) - max(begin_s, from_s))
            for (from_s, _, takes), (until_s, _, _) in itertools.pairwise(edges)
        )


def test_an_empty_queue_does_not_wait_for_the_next_arrival() -> None:
    queue = Queue([(1, 10, 40), (200, 0, 40), (1, 10, 40)], 0)
    for at_s in (0.0, 0.5, 1.0, 100.0, 200.9, 201.5):
        assert queue.departures.leaves_s(at_s) == at_s


def test_a_queue_that_was_emptied_before_a_pause_has_no_delay_in_it() -> None:
    queue = Queue([(1, 100, 40), (200, 0, 40), (1, 10, 40)], 0)
    assert queue.departures.leaves_s(1.0) == pytest.approx(2.5)
    assert queue.departures.leaves_s(2.0) == pytest.approx(2.5)
    assert queue.departures.leaves_s(2.6) == 2.6


def test_what_comes_while_the_server_stands_still_waits_for_it() -> None:
    queue = Queue([(10, 10, 40), (30, 10, 0), (60, 10, 40)], 0)
    assert queue.departures.leaves_s(9.9) == 9.9
    assert queue.departures.leaves_s(10.0) == 40.0
    assert queue.departures.leaves_s(20.0) == pytest.approx(40 + 100 / 40)
    alone = Queue([(10, 0, 40), (30, 0, 0), (60, 0, 40)], 0)
    assert [alone.departures.leaves_s(at_s) for at_s in (5.0, 15.0, 45.0)] == [5.0, 40.0, 45.0]


def test_what_has_not_left_at_the_end_has_no_time() -> None:
    queue = Queue([(10, 20, 10)], 30)
    assert queue.departures.leaves_s(0.0) == pytest.approx(3)
    assert queue.departures.leaves_s(9.0) is None
    assert Queue([(10, 0, 0)], 0).departures.leaves_s(5.0) is None


def test_what_a_queue_throws_away_from_its_front_lets_the_others_move_up() -> None:
    full = [QueuePiece(0, 50, 100, is_open=False), QueuePiece(10, 100, 0, is_open=True)]
    departures = Departures(100, full, 20)
    assert departures.leaves_s(5.0) == pytest.approx(10 + 75 / 10)
    assert departures.leaves_s(0.0) == pytest.approx(10 + 50 / 10)


@given(flows, st.integers(0, 100), st.floats(0, 1))
def test_the_server_can_take_exactly_what_is_ahead_until_something_leaves(
    flow: list[tuple[float, int, int]], held: int, part: float
) -> None:
    queue = Queue(flow, held)
    times_s = sorted({*queue.departures.edges_s, *(part * edge for edge in queue.departures.edges_s)})
    last_s = 0.0
    for at_s in times_s:
        index = max(i for i, begin in enumerate([*queue.begins, (queue.end_s, 0, 0)]) if begin[0] <= at_s)
        piece = queue.pieces[min(index, len(queue.pieces) - 1)]
        begin_s, before, takes = queue.begins[min(index, len(queue.pieces) - 1)]
        edges = queue.departures.edges_s
        share = (at_s - begin_s) / (edges[edges.index(begin_s) + 1] - begin_s)
        ahead = before + share * (piece.held - before)
        leaves_s = queue.departures.leaves_s(at_s)
        if leaves_s is None:
            assert queue.served(at_s, queue.end_s) <= ahead + 1e-3
            continue
        assert leaves_s >= at_s
        assert leaves_s >= last_s - SLACK  # first in, first out
        last_s = leaves_s
        assert queue.served(at_s, leaves_s) == pytest.approx(ahead, abs=1e-3)
        if ahead == 0 and takes > 0:
            assert leaves_s == at_s
