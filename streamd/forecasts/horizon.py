"""The predictions for one horizon: those that wait for their value, and how wrong the last ones were."""

from array import array
from math import ceil, isnan, nan
from typing import Any, NamedTuple

from streamd.anomalies.sorted_window import SortedWindow

ROUNDING = 1e-9
ALIKE = 10
"""Of the errors in a time as long as the horizon about so many are remembered. They overlap, so they are
alike, and a short time of them would say little about the next ones."""


class Outlook(NamedTuple):
    """A prediction of the value of an interval. A value is NaN if it is unknown."""

    value: float
    reach: float
    """How far the band reaches to both sides."""
    naive: float
    """What repeating the last value predicts: that of the series, or of the same bucket of the season."""


NOTHING = Outlook(nan, nan, nan)


class Horizon:
    """What one key knows of one horizon.

    A prediction that waits takes 24 bytes, an error 16.
    """

    __slots__ = ("_step", "_waiting", "ahead", "errors")

    def __init__(self, ahead: int, errors: int) -> None:
        """`ahead` is in intervals; `errors` is how many are remembered."""
        self.ahead = ahead
        self.errors = SortedWindow(errors)
        """The sizes of the last errors that are remembered."""
        self._step = max(1, ahead // ALIKE)
        """The error of every so many-th interval is remembered."""
        self._waiting = array("d", NOTHING * ahead)
        """A ring with three numbers for each of the next `ahead` intervals."""

    def take(self, index: int) -> Outlook:
        """The prediction for an interval, which no longer waits. Without one its value is NaN."""
        place = index % self.ahead * 3
        waiting = self._waiting
        found = Outlook(waiting[place], waiting[place + 1], waiting[place + 2])
        waiting[place] = nan
        return found

    def skip(self, after: int, before: int) -> int:
        """Forget the predictions for the intervals between two others. Returns how many there were."""
        skipped = range(after + 1, min(before, after + 1 + self.ahead))
        return sum(not isnan(self.take(index).value) for index in skipped)

    def put(self, index: int, predicted: Outlook) -> None:
        """Let a prediction for an interval wait. It replaces that for the interval `ahead` earlier."""
        place = index % self.ahead * 3
        self._waiting[place], self._waiting[place + 1], self._waiting[place + 2] = predicted

    def note(self, index: int, error: float) -> None:
        """Remember the size of the error in an interval."""
        if index % self._step == 0:
            self.errors.add(error)

    def reach(self, level: float) -> float:
        """The size below which a new error is with the probability `level`; NaN with too few errors.

        If the errors so far and the new one come in any order with the same probability, the share of new
        errors up to the k-th of n is k / (n + 1) (Papadopoulos et al., "Inductive confidence machines for
        regression", 2002). So no distribution is assumed.
        """
        ordered = self.errors.ordered
        rank = ceil((len(ordered) + 1) * level - ROUNDING)
        return ordered[rank - 1] if rank <= len(ordered) else nan

    def stored(self) -> Any:
        """The state for a snapshot."""
        return self.errors.in_order(), list(self._waiting)

    def restore(self, stored: Any) -> None:
        """Go on from a snapshot. Raises `ValueError` or `TypeError` if it is none of this horizon."""
        errors, waiting = stored
        if len(waiting) != 3 * self.ahead or len(errors) > self.errors.most:
            raise ValueError("the state is of another horizon")
        self.errors = SortedWindow(self.errors.most, errors)
        self._waiting = array("d", waiting)
