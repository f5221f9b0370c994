"""What detectors over the last values share."""

from collections.abc import Sequence
from typing import Any

from streamd.anomalies.detector import Detector
from streamd.anomalies.limits import Limits
from streamd.anomalies.sorted_window import SortedWindow


class Windowed(Detector[SortedWindow]):
    """Scores a value by its distance from the median of the last `window` values."""

    def __init__(self, limits: Limits, window: int) -> None:
        super().__init__(limits)
        self._window = window

    def new(self) -> SortedWindow:
        return SortedWindow(self._window)

    def stored(self, model: SortedWindow) -> Any:
        return model.in_order()

    def of_stored(self, stored: Sequence[Any]) -> SortedWindow:
        return SortedWindow(self._window, map(float, stored[-self._window :]))
