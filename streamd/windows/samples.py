"""Percentiles of weighted values in bounded memory."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from streamd.windows.exact import stored_number

MOST_EXACT = 512
"""Values that are kept one by one; beyond that they are counted in buckets."""
MOST_BUCKETS = 2048
"""Buckets of a set of values; beyond that the lowest become one."""
_MERGED_AT_ONCE = 256
ACCURACY = 0.01
"""Greatest relative error of a percentile that comes from buckets."""
_GROWTH = (1 + ACCURACY) / (1 - ACCURACY)
_PER_LOG = 1 / math.log(_GROWTH)
_MIDDLE = 2 / (_GROWTH + 1)
_BIAS = 40_000
"""More than the number of buckets between 1 and the least or the greatest float."""
_SLACK = 1e-9
"""Relative error of sums of weights that is no reason to take the next value."""


class Samples:
    """Values with weights: how many each stands for. Adding one costs 0.5 µs.

    Count, sum, mean, deviation, least and greatest value are exact but for rounding. A percentile is a value
    that was added (nearest rank). Beyond `MOST_EXACT` values it is the middle of a bucket, at most 1 % from
    that value: buckets grow geometrically, as in DDSketch. The lowest percentiles are less exact if the
    values need more than `MOST_BUCKETS`, a range of 10¹⁷.
    """

    __slots__ = ("_buckets", "_mean", "_squares", "_values", "count", "greatest", "least", "total")

    def __init__(self) -> None:
        self.count = 0.0
        self.total = 0.0
        self.least = math.inf
        self.greatest = -math.inf
        self._mean = 0.0
        self._squares = 0.0
        self._values: list[tuple[float, float]] | None = []
        self._buckets: dict[int, float] = {}

    def add(self, value: float, weight: float) -> None:
        """Add a finite value that stands for `weight` values."""
        self.count += weight
        self.total += weight * value
        distance = value - self._mean  # West's algorithm
        self._mean += distance * weight / self.count
        self._squares += weight * distance * (value - self._mean)
        if value < self.least:  # noqa: PLR1730 - a call costs more
            self.least = value
        if value > self.greatest:  # noqa: PLR1730
            self.greatest = value
        if self._values is None:
            self._add_to_bucket(value, weight)
        elif len(self._values) < MOST_EXACT:
            self._values.append((value, weight))
        else:
            for one, its_weight in self._values:
                self._add_to_bucket(one, its_weight)
            self._values = None
            self._add_to_bucket(value, weight)

    def _add_to_bucket(self, value: float, weight: float) -> None:
        if value == 0:
            key = 0
        else:
            place = math.ceil(math.log(abs(value)) * _PER_LOG) + _BIAS
            key = place if value > 0 else -place
        buckets = self._buckets
        if key in buckets:
            buckets[key] += weight
            return
        buckets[key] = weight
        if len(buckets) > MOST_BUCKETS:
            *lowest, last = sorted(buckets)[:_MERGED_AT_ONCE]
            buckets[last] += sum(map(buckets.pop, lowest))

    @property
    def deviation(self) -> float | None:
        """The standard deviation of all values (not of a sample); None without values."""
        return stored_number(math.sqrt(max(self._squares, 0.0) / self.count)) if self.count else None

    @property
    def mean(self) -> float | None:
        """The arithmetic mean; None without values."""
        return stored_number(self._mean) if self.count else None

    def percentiles(self, ranks: Sequence[float]) -> list[float | None]:
        """For each rank (0 to 100) the least value that so many percent do not exceed; None if empty."""
        if not self.count:
            return [None] * len(ranks)
        if self._values is not None:
            ordered = sorted(self._values)
            values = [value for value, _ in ordered]
            weights = [weight for _, weight in ordered]
        else:
            keys = sorted(self._buckets)
            values = [min(max(_middle(key), self.least), self.greatest) for key in keys]
            weights = list(map(self._buckets.__getitem__, keys))
        sums = list(accumulate(weights))
        found: list[float | None] = []
        for rank in ranks:
            wanted = sums[-1] * (rank / 100 - _SLACK)
            found.append(next(value for value, upto in zip(values, sums, strict=True) if upto >= wanted))
        return found

    def dump(self) -> list[Any]:
        """The state as values of MessagePack."""
        return [
            self.count, self.total, self.least, self.greatest, self._mean, self._squares, self._values,
            list(self._buckets.items()),
        ]  # fmt: skip

    @classmethod
    def load(cls, stored: Any) -> "Samples":
        """The values of what `dump` returned. Raises ValueError or TypeError."""
        self = cls()
        *numbers, values, buckets = stored
        (
            self.count, self.total, self.least, self.greatest, self._mean, self._squares,
        ) = (float(number) for number in numbers)  # fmt: skip
        if values is None:
            self._values = None
        else:
            self._values = [(float(value), float(weight)) for value, weight in values]
        self._buckets = {int(key): float(weight) for key, weight in buckets}
        return self


def _middle(key: int) -> float:
    """The value that is at most `ACCURACY` from all values of a bucket."""
    if key == 0:
        return 0.0
    try:
        size = math.pow(_GROWTH, abs(key) - _BIAS) * _MIDDLE
    except OverflowError:
        size = math.inf
    return size if key > 0 else -size
