"""A histogram of fixed buckets: how long something took, in memory that does not grow."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


class Histogram:
    """Counts of values by the first bound that is not below them; one more bucket holds what is above all.

    `bounds` ascend and are finite; bounds and values share a unit, which the owner's name for the
    histogram says. Memory is one integer a bucket; an observation costs one binary search.
    """

    __slots__ = ("_counts", "bounds", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        if not self.bounds or list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError("bounds of a histogram ascend and there is at least one")
        self.sum = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self._counts)

    def observe(self, value: float, count: int = 1) -> None:
        """Add a finite value, `count` times."""
        self._counts[bisect_left(self.bounds, value)] += count
        self.sum += value * count

    def buckets(self) -> list[tuple[float, int]]:
        """(bound, number of values up to it), cumulative; the last bound is infinite."""
        return list(zip((*self.bounds, math.inf), accumulate(self._counts), strict=True))

    def quantile(self, q: float) -> float | None:
        """The value below which a share `q` (0 to 1) of all values lies; None before the first one.

        Values are taken as spread evenly within their bucket, the first bucket as starting at 0. What lies
        above the last bound is reported as that bound: at least that much.
        """
        wanted = q * self.count
        below = 0
        lower = 0.0
        for bound, count in zip(self.bounds, self._counts, strict=False):
            if count and below + count >= wanted:
                return lower + (bound - lower) * max(0.0, wanted - below) / count
            below += count
            lower = bound
        return self.bounds[-1] if self.count else None
