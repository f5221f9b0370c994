"""How many of the connections that wait at a socket one of several processes accepts."""

from collections.abc import Sequence

AWAY = -1
"""Instead of a number of open connections: the process accepts none."""


def share(opened: Sequence[int], own: int, waiting: int) -> int:
    """How many of the `waiting` connections a process accepts so that all have about the same number.

    `opened` has the number of open connections of each process, or `AWAY`; `own` is the place of this one.
    Those with the fewest take all that wait, until they have as many as the next; a remainder goes to any of
    them. O(n log n) for n processes.
    """
    mine = max(0, opened[own])
    present = sorted([mine, *(n for place, n in enumerate(opened) if place != own and n != AWAY)])
    together = waiting
    level = 0
    for processes, number in enumerate(present, 1):
        together += number
        level = -(-together // processes)
        if processes == len(present) or level <= present[processes]:
            break
    return max(0, level - mine)


class EvenShare:
    """The part of one process in the connections to one address, by counts that all processes can read."""

    def __init__(self, opened: "list[int] | memoryview[int]", own: int) -> None:
        """`opened` is shared: each process sets the number in its own place."""
        self._opened = opened
        self._own = own

    def note(self, opened: int) -> None:
        """Set the number of open connections of this process, or `AWAY`."""
        self._opened[self._own] = opened

    def of(self, waiting: int) -> int:
        """How many of the waiting connections this process accepts now."""
        return share(self._opened, self._own, waiting)
