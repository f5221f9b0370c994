"""Chooses some records of a stream whose length is not known, each with the same probability."""

import math
from collections.abc import Callable, Iterator


class Reservoir:
    """A fair choice of `size` of the items that are offered: algorithm L (Li, 1994).

    The work grows with the number of chosen items, not with the number of offered ones. With `first`, the
    first `size` items are chosen instead. `draw` returns numbers of [0, 1).
    """

    def __init__(self, size: int, draw: Callable[[], float], *, first: bool = False) -> None:
        self.offered = 0
        """Items offered since the start or the last `clear`."""
        self._size = size
        self._draw = draw
        self._first = first
        self._next = 0
        """The number of the next chosen item, once all slots are full."""
        self._weight = 1.0

    def clear(self, size: int) -> None:
        """Begin anew, with `size` slots."""
        self.offered = 0
        self._size = size
        self._weight = 1.0

    def offer(self, count: int) -> Iterator[tuple[int, int]]:
        """The chosen ones of `count` more items: the place of each among them, and its slot.

        An item in a slot replaces the one before it. The iterator has to be read to its end.
        """
        begin = self.offered
        self.offered = end = begin + count
        filled = min(end, self._size)
        for number in range(begin, filled):
            yield number - begin, number
        if self._first or not self._size or end < self._size:
            return
        if begin < self._size:
            self._next = self._size - 1
            self._skip()
        while self._next < end:
            place = self._next - begin
            slot = int(self._draw() * self._size)
            self._skip()
            yield place, slot

    def _skip(self) -> None:
        self._weight *= math.exp(math.log(1.0 - self._draw()) / self._size)
        rest = math.log1p(-self._weight) if self._weight < 1.0 else -math.inf
        # After very many items the weight is 0 for a float: then no further one is chosen.
        self._next += int(min(math.log(1.0 - self._draw()) / rest, 2.0**62)) + 1 if rest else 2**62
