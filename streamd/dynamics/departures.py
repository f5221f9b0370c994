"""When what arrives at a queue leaves it, from its cumulative departures (Newell, 1982, chapter 1)."""

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple


class QueuePiece(NamedTuple):
    """Some time in which the rates of a queue were constant."""

    begin_s: float
    left: float
    """What left meanwhile. What the queue threw away from its front counts too."""
    held: float
    """What was in the queue at the end."""
    is_open: bool
    """Whether the server behind the queue took anything, or would have."""


class Departures:
    """The course of a queue, first in, first out.

    The delay of an arrival is the horizontal distance of the curves of arrivals and departures only while
    the queue holds something. An empty queue has flat curves: the next departure is then that of a later
    arrival, and what arrives now leaves at once if the server is open.
    """

    def __init__(self, held: float, pieces: Sequence[QueuePiece], end_s: float) -> None:
        """Begin with what the queue holds. At least one piece is needed; `end_s` is the end of the last."""
        self._at_s = [*(one.begin_s for one in pieces), end_s]
        self._gone = list(itertools.accumulate((one.left for one in pieces), initial=0.0))
        self._held = [held, *(one.held for one in pieces)]
        self._is_open = [one.is_open for one in pieces]
        self._empty_s = _next_times(self._at_s, [held <= 0 for held in self._held])
        """For each edge of a piece the next time at which the queue is empty. None if it never is."""
        self._open_s = _next_times(self._at_s[:-1], self._is_open)

    @property
    def edges_s(self) -> list[float]:
        """The begin of each piece, and the end of the last."""
        return self._at_s

    def leaves_s(self, at_s: float) -> float | None:
        """The second at which what arrives at `at_s` leaves. None if it does not before the end.

        What a full queue would throw away is treated as if it were kept.
        """
        piece = self._piece(at_s)
        begin_s, end_s = self._at_s[piece : piece + 2]
        part = (at_s - begin_s) / (end_s - begin_s) if end_s > begin_s else 0.0
        before, after = self._held[piece : piece + 2]
        held = before + part * (after - before)
        if held <= 0:
            return self._when_open(at_s)
        ahead = self._gone[piece] + part * (self._gone[piece + 1] - self._gone[piece]) + held
        empty_s = self._empty_s[piece + 1]
        passed = bisect_left(self._gone, ahead, piece + 1)
        if passed == len(self._gone):  # rounding may keep the sum just below what was ahead
            return None if empty_s is None else self._when_open(empty_s)
        low, high = self._gone[passed - 1 : passed + 1]
        share = (ahead - low) / (high - low) if high > low else 0.0
        gone_s = self._at_s[passed - 1] + share * (self._at_s[passed] - self._at_s[passed - 1])
        return self._when_open(max(at_s, gone_s if empty_s is None else min(gone_s, empty_s)))

    def _piece(self, at_s: float) -> int:
        return min(len(self._is_open), bisect_right(self._at_s, at_s)) - 1

    def _when_open(self, at_s: float) -> float | None:
        """The first second from `at_s` on at which the server is open."""
        open_s = self._open_s[self._piece(at_s)]
        return None if open_s is None else max(at_s, open_s)


def _next_times(at_s: list[float], are: list[bool]) -> list[float | None]:
    """For each index the time of the first one from there on that is true."""
    found: list[float | None] = []
    following: float | None = None
    for time_s, is_so in zip(reversed(at_s), reversed(are), strict=True):
        following = time_s if is_so else following
        found.append(following)
    return found[::-1]
