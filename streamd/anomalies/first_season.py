"""The first season of a series, from which a level and a profile are learned."""

from array import array
from collections.abc import Sequence
from math import isnan, nan
from typing import Self


class FirstSeason:
    """The sums of the values by bucket. A bucket takes 16 bytes, and one at least has values at the end."""

    __slots__ = ("counts", "sums")

    def __init__(self, buckets: int) -> None:
        self.sums = array("d", bytes(8 * buckets))
        self.counts = array("d", bytes(8 * buckets))

    def add(self, bucket: int, value: float) -> None:
        """Add a value of a bucket."""
        self.sums[bucket] += value
        self.counts[bucket] += 1

    def count(self) -> float:
        """The number of values."""
        return sum(self.counts)

    def level_and_profile(self) -> "tuple[float, array[float]]":
        """The mean of all buckets, and what each adds to it; NaN for one without values."""
        means = [total / count if count else nan for total, count in zip(self.sums, self.counts, strict=True)]
        seen = [mean for mean in means if not isnan(mean)]
        level = sum(seen) / len(seen)
        return level, array("d", [mean - level for mean in means])

    def stored(self) -> list[float]:
        """The sums, and then the counts."""
        return [*self.sums, *self.counts]

    @classmethod
    def of_stored(cls, stored: Sequence[float], buckets: int) -> Self:
        """The season of a snapshot. Raises `ValueError` if it has another number of buckets."""
        if len(stored) != 2 * buckets:
            raise ValueError("the first season has another number of buckets")
        season = cls(0)
        season.sums, season.counts = array("d", stored[:buckets]), array("d", stored[buckets:])
        return season
