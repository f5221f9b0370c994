"""A band between two quantiles of the last values."""

from typing import Any

from streamd.anomalies.detector import Detector
from streamd.anomalies.limits import Limits, Scored
from streamd.anomalies.sorted_window import SortedWindow


class Quantiles(Detector[SortedWindow]):
    """Scores a value by its distance from the median, in distances of a quantile from the median.

    Both sides have a scale of their own, so a skewed distribution gets a skewed band. A value costs about
    1.2 µs with a window of 200, and a model takes 16 bytes for each value of the window and 350.
    """

    def __init__(self, limits: Limits, window: int, low: float, high: float) -> None:
        """`low` and `high` are the shares of values below both quantiles."""
        super().__init__(limits)
        self._window, self._low, self._high = window, low, high

    def new(self) -> SortedWindow:
        return SortedWindow(self._window)

    def see(self, model: SortedWindow, value: float, at_s: float) -> Scored | None:
        limits = self.limits
        scored = None
        if len(model.values) >= limits.min_samples:
            median = model.median()
            scored = limits.score(
                value, median, median - model.quantile(self._low), model.quantile(self._high) - median
            )
            if scored is not None:
                learned = limits.learned(value, scored)
                if learned is None:
                    return scored
                value = learned
        model.add(value)
        return scored

    def stored(self, model: SortedWindow) -> Any:
        return model.in_order()

    def of_stored(self, stored: Any) -> SortedWindow:
        return SortedWindow(self._window, stored)
