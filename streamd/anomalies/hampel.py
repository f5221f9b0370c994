"""The median and the median absolute deviation of the last values."""

from typing import Any

from streamd.anomalies.detector import Detector
from streamd.anomalies.limits import Limits, Scored
from streamd.anomalies.sorted_window import SortedWindow

NORMAL = 1.4826
"""The standard deviation of a normal distribution in median absolute deviations."""


class Hampel(Detector[SortedWindow]):
    """Scores a value by its distance from the median of the last values.

    The scale is the median absolute deviation times 1.4826 (Hampel, "The influence curve and its role in
    robust estimation", 1974). Up to half of the values may be unusual without an effect on both. A value
    costs about 1.2 µs with a window of 31, and a model takes 16 bytes for each value of the window and 350.
    """

    def __init__(self, limits: Limits, window: int) -> None:
        super().__init__(limits)
        self._window = window

    def new(self) -> SortedWindow:
        return SortedWindow(self._window)

    def see(self, model: SortedWindow, value: float, at_s: float) -> Scored | None:
        limits = self.limits
        scored = None
        if len(model.values) >= limits.min_samples:
            median = model.median()
            scale = NORMAL * model.deviation_from(median)
            scored = limits.score(value, median, scale, scale)
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
