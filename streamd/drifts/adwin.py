"""The adaptive window: it keeps the values since the last change, and notices that its parts differ."""

from array import array
from collections.abc import Iterator
from itertools import repeat
from math import log, sqrt
from typing import Any

from streamd.drifts.detector import Change, DriftDetector
from streamd.drifts.reference import SeriesReference

EVERY = 32
"""The parts are compared after so many values, because that costs more than to add a value."""
PER_SIZE = 5
"""Most buckets of one size."""
FEWEST = 5
"""A part has at least so many values."""
RANGE = 8.0
"""How far apart values are at most, in standard deviations of the reference. Those of a share are 1 apart."""


class AdwinModel(SeriesReference):
    """The window as buckets of 1, 2, 4, … values (an exponential histogram), the oldest first.

    Values are distances from the mean of the reference in parts of their range, those of shares as they are.
    """

    __slots__ = ("changed", "sizes", "squares_of", "totals", "width")

    def __init__(self) -> None:
        super().__init__()
        self.changed = 0
        """Number of the first value since the last change. Here `count` is the number of all values."""
        self.width = 0
        """The number of values in the window."""
        self.totals = array("d")
        """The sum of the values of each bucket."""
        self.squares_of = array("d")
        """The sum of their squared distances from their mean."""
        self.sizes = bytearray(1)
        """The number of buckets of 1, 2, 4, … values."""

    def add(self, value: float) -> None:
        """Add a value. If there are too many buckets of a size, the two oldest ones become one."""
        totals, squares_of, sizes = self.totals, self.squares_of, self.sizes
        totals.append(value)
        squares_of.append(0.0)
        self.width += 1
        sizes[0] += 1
        end = len(totals)
        power = 0
        while sizes[power] > PER_SIZE:
            oldest = end - sizes[power]
            other = totals.pop(oldest + 1)
            apart = totals[oldest] - other
            squares_of[oldest] += squares_of.pop(oldest + 1) + apart * apart / (2 << power)
            totals[oldest] += other
            sizes[power] -= 2
            power += 1
            if power == len(sizes):
                sizes.append(0)
            sizes[power] += 1  # it is the newest one of that size
            end = oldest + 1

    def drop_oldest(self) -> tuple[int, float]:
        """Drop the oldest bucket. Returns its number of values and their sum."""
        sizes = self.sizes
        size = 1 << (len(sizes) - 1)
        sizes[-1] -= 1
        while len(sizes) > 1 and not sizes[-1]:
            sizes.pop()
        self.width -= size
        del self.squares_of[0]
        return size, self.totals.pop(0)

    def counts(self) -> Iterator[int]:
        """The number of values of each bucket."""
        for power in range(len(self.sizes) - 1, -1, -1):
            yield from repeat(1 << power, self.sizes[power])


class Adwin(DriftDetector[AdwinModel]):
    """Compares the older and the newer part of the window, for each way to divide it between two buckets.

    If the means of two parts differ more than they do by chance, the level has changed (Bifet and Gavaldà,
    "Learning from time-changing data with adaptive windowing", 2007, with the bound that uses the variance).
    Then the values before the most distinct division are dropped. The paper drops the oldest bucket and
    compares again, which leaves old values in the window: the same change is found two or three times. A
    value costs about 1.1 µs.
    """

    def __init__(self, fewest: int, min_scale: float = 0.0, confidence: float = 0.002) -> None:
        """`confidence` is about the probability that two parts of an unchanged series are found to differ."""
        self._fewest, self._min_scale = fewest, min_scale
        self._confidence = confidence

    def new(self) -> AdwinModel:
        return AdwinModel()

    def see(self, model: AdwinModel, value: float, *, is_share: bool = False) -> Change | None:
        model.count = count = model.count + 1
        scale = model.scale
        if not scale:
            if not is_share or count > 1:
                model.learn(value, self._fewest, self._min_scale)
                return None
            scale = model.scale = 1.0 / RANGE
        model.add((value - model.mean) / (RANGE * scale))
        return None if count % EVERY else self._divided(model)

    def _divided(self, model: AdwinModel) -> Change | None:
        """Drop the values before the most distinct division, if there is one that is no chance."""
        older = self._older(model)
        if not older:
            return None
        dropped, total = 0, 0.0
        while dropped < older:
            count, its = model.drop_oldest()
            dropped += count
            total += its
        begin = model.count - model.width
        before, model.changed = begin - model.changed, begin
        mean, reach = model.mean, RANGE * model.scale
        return Change(
            mean + reach * total / dropped,
            mean + reach * sum(model.totals) / model.width,
            before,
            model.width,
        )

    def _older(self, model: AdwinModel) -> int:
        """The number of values before the most distinct division; 0 if no two parts differ."""
        width, totals = model.width, model.totals
        if width < 2 * FEWEST:
            return 0
        total = sum(totals)
        mean = total / width
        squares = sum(model.squares_of)
        for count, its in zip(model.counts(), totals, strict=True):
            squares += (its - count * mean) ** 2 / count
        rarity = log(2.0 * log(width) / self._confidence)
        spread, reach = 2.0 * squares / width * rarity, 2.0 / 3.0 * rarity
        older, older_total = 0, 0.0
        found, most = 0, 1.0
        for count, its in zip(model.counts(), totals, strict=True):
            older += count
            older_total += its
            newer = width - older
            if newer < FEWEST:
                break
            if older >= FEWEST:
                sparse = 1.0 / (older - FEWEST + 1) + 1.0 / (newer - FEWEST + 1)
                apart = abs(older_total / older - (total - older_total) / newer)
                distinct = apart / (sqrt(spread * sparse) + reach * sparse)
                if distinct > most:
                    found, most = older, distinct
        return found

    def stored(self, model: AdwinModel) -> Any:
        return (
            model.count, model.mean, model.squares, model.scale, model.changed,
            bytes(model.sizes), list(model.totals), list(model.squares_of),
        )  # fmt: skip

    def of_stored(self, stored: Any) -> AdwinModel:
        model = AdwinModel()
        (
            model.count, model.mean, model.squares, model.scale, model.changed,
            sizes, totals, squares_of,
        ) = stored  # fmt: skip
        model.sizes, model.totals, model.squares_of = (
            bytearray(sizes), array("d", totals), array("d", squares_of),
        )  # fmt: skip
        model.width = sum(model.counts())
        if not len(model.totals) == len(model.squares_of) == sum(model.sizes):
            raise ValueError("the window has another number of buckets")
        return model
