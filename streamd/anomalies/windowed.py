"""What detectors over the last values share."""

from abc import abstractmethod
from typing import Any

from streamd.anomalies.detector import Detector
from streamd.anomalies.limits import Limits, Scored
from streamd.anomalies.sorted_window import SortedWindow


class Windowed(Detector[SortedWindow]):
    """Scores a value by its distance from the median of the last `window` values."""

    def __init__(self, limits: Limits, window: int) -> None:
        super().__init__(limits)
        self._window = window

    @abstractmethod
    def scales(self, model: SortedWindow, median: float) -> tuple[float, float]:
        """The scales below and above the median."""

    def new(self) -> SortedWindow:
        return SortedWindow(self._window)

    def see(self, model: SortedWindow, value: float, at_s: float) -> Scored | None:
        scored = None
        if len(model.values) >= self.limits.min_samples:
            median = model.median()
            scored = self.limits.score(value, median, *self.scales(model, median))
            if scored is not None:
                learned = self.limits.learned(value, scored)
                if learned is None:
                    return scored
                value = learned
        model.add(value)
        return scored

    def stored(self, model: SortedWindow) -> Any:
        return model.in_order()

    def of_stored(self, stored: Any) -> SortedWindow:
        return SortedWindow(self._window, stored)
