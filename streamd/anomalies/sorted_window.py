"""The last values of one key, in the order of arrival and sorted."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from streamd.anomalies.detector import KeyModel


class SortedWindow(KeyModel):
    """At most `most` values. A value takes 16 bytes."""

    __slots__ = ("_next", "most", "ordered", "start", "values")

    def __init__(self, most: int, values: Iterable[float] = ()) -> None:
        """`values` in the order of arrival."""
        super().__init__()
        self.most = most
        self.values = array("d", values)
        self.ordered = array("d", sorted(self.values))
        self._next = 0
        """The place of the oldest value, once there are `most`."""
        self.start = 0
        """Where the nearest half of `ordered` began at the last look, for `Hampel`."""

    def add(self, value: float) -> None:
        """Add a value, and forget the oldest one if there are too many."""
        values, ordered = self.values, self.ordered
        if len(values) < self.most:
            values.append(value)
        else:
            place = self._next
            del ordered[bisect_left(ordered, values[place])]
            values[place] = value
            self._next = place + 1 if place + 1 < self.most else 0
        ordered.insert(bisect_right(ordered, value), value)  # `insort` takes 50 ns more for an array

    def in_order(self) -> list[float]:
        """The values in the order of arrival."""
        return [*self.values[self._next :], *self.values[: self._next]]

    def quantile(self, share: float) -> float:
        """The value below which this share of the values is, linearly interpolated. There is at least one."""
        ordered = self.ordered
        place = share * (len(ordered) - 1)
        below = int(place)
        low = ordered[below]
        return low if place == below else low + (place - below) * (ordered[below + 1] - low)

    def median(self) -> float:
        """The median; of an even number of values the mean of both middle ones. There is at least one."""
        ordered = self.ordered
        half = len(ordered) >> 1
        return ordered[half] if len(ordered) & 1 else (ordered[half - 1] + ordered[half]) / 2
