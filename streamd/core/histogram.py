"""A histogram with fixed buckets, for durations; its memory does not grow."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


class Histogram:
    """Counts values in the bucket of the lowest bound that is not below the value.

    A further bucket counts values above all bounds. `bounds` ascend and are finite. Bounds and values have
    the same unit, which the name of the owner's attribute states. Memory is one integer per bucket; an
    observation costs one binary search.
    """

    __slots__ = ("_counts", "bounds", "highest", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        if not self.bounds or list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError("a histogram needs at least one bound, and its bounds ascend")
        self.sum = 0.0
        self.highest = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    @property
    def count(self) -> int:
        """The number of observed values."""
        return sum(self._counts)

    def observe(self, value: float, count: int = 1) -> None:
        """Add a finite value, `count` times."""
        self._counts[bisect_left(self.bounds, value)] += count
        self.sum += value * count
        self.highest = max(self.highest, value)

    @staticmethod
    def merge(parts: "Sequence[Histogram]") -> "Histogram":
        """The values of all parts, which have the same bounds. At least one part is needed."""
        merged = Histogram(parts[0].bounds)
        merged.sum = sum(part.sum for part in parts)
        merged.highest = max(part.highest for part in parts)
        merged._counts = [
            sum(counts)
            for counts in zip(*(part._counts for part in parts), strict=True)  # noqa: SLF001 - of this class
        ]
        return merged

    def buckets(self) -> list[tuple[float, int]]:
        """(bound, number of values up to the bound), cumulative; the last bound is infinite."""
        return list(zip((*self.bounds, math.inf), accumulate(self._counts), strict=True))

    def quantile(self, q: float) -> float | None:
        """The value below which a share `q` (0 to 1) of all values lies; None if there are no values.

        Within a bucket, values are assumed to be spread evenly; the first bucket begins at 0. The result is
        never above the last bound or the highest observed value.
        """
        wanted = q * self.count
        below = 0
        lower = 0.0
        for bound, count in zip(self.bounds, self._counts, strict=False):
            if count and below + count >= wanted:
                return min(self.highest, lower + (bound - lower) * max(0.0, wanted - below) / count)
            below += count
            lower = bound
        return self.bounds[-1] if self.count else None
