"""The last values of one key, in the order of arrival and sorted."""

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable

from streamd.anomalies.detector import Model


class SortedWindow(Model):
    """At most `most` values. A value takes 16 bytes."""

    __slots__ = ("_next", "_start", "most", "ordered", "values")

    def __init__(self, most: int, values: Iterable[float] = ()) -> None:
        """`values` in the order of arrival."""
        super().__init__()
        self.most = most
        self.values = array("d", values)
        self.ordered = array("d", sorted(self.values))
        self._next = 0
        """The place of the oldest value, once there are `most`."""
        self._start = 0
        """Where the nearest half of the values began at the last look."""

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
        insort(ordered, value)

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

    def deviation_from(self, median: float) -> float:
        """The median of the absolute distances from the median of the values.

        For an even number of values it is the greater of both middle distances. The nearest half of the
        values is a range of the ordered ones, and its farther end is the distance. If the range moves up, its
        lower end comes nearer and its upper end goes farther. A new value moves it by a place or two, so the
        search begins where the last one has ended.
        """
        ordered = self.ordered
        size = len(ordered) >> 1
        top = len(ordered) - size - 1
        start = min(self._start, top)
        below, above = median - ordered[start], ordered[start + size] - median
        found = max(below, above)
        while below > above and start < top:
            below, above = median - ordered[start + 1], ordered[start + 1 + size] - median
            if above > found:
                break
            start += 1
            found = max(below, above)
        while below < above and start > 0:
            below, above = median - ordered[start - 1], ordered[start - 1 + size] - median
            if below > found:
                break
            start -= 1
            found = max(below, above)
        self._start = start
        return found
