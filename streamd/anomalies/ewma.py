"""The exponentially weighted moving average and variance."""

from math import sqrt
from typing import Any

from streamd.anomalies.detector import Detector, Model
from streamd.anomalies.limits import ROUNDING, Limits, Scored


class EwmaModel(Model):
    """The mean and the variance of the values so far; newer values weigh more."""

    __slots__ = ("count", "mean", "variance")

    def __init__(self, count: int = 0, mean: float = 0.0, variance: float = 0.0) -> None:
        self.last = 0
        self.count = count
        self.mean = mean
        self.variance = variance


class Ewma(Detector[EwmaModel]):
    """Scores a value by its distance from the mean in standard deviations.

    The update is that of Finch, "Incremental calculation of weighted mean and variance" (2009), section 9.
    Until 1/n is below the weight of a new value, the mean and variance are those of all values. A value costs
    about 0.2 µs, and a model takes 130 bytes.
    """

    def __init__(self, limits: Limits, half_life: float) -> None:
        """After `half_life` further values a value weighs half as much."""
        super().__init__(limits)
        self._weight = 1.0 - 0.5 ** (1.0 / half_life)
        self._from = max(limits.min_samples, 2)
        self._threshold, self._min_width = limits.threshold, limits.min_width

    def new(self) -> EwmaModel:
        return EwmaModel()

    def see(self, model: EwmaModel, value: float, at_s: float) -> Scored | None:
        # As `Limits.score` for one scale, without its calls, which would cost as much as the rest.
        count, mean = model.count, model.mean
        deviation = value - mean
        scored = None
        if count >= self._from:
            reach = sqrt(model.variance) * self._threshold
            reach = max(reach, self._min_width)
            if reach > abs(mean) * ROUNDING:
                scored = deviation / reach * self._threshold, mean - reach, mean + reach
                if not -reach <= deviation <= reach:
                    learned = self.limits.learned(value, scored)
                    if learned is None:
                        return scored
                    deviation = learned - mean
        model.count = count = count + 1
        weight = self._weight
        if count * weight < 1.0:
            weight = 1.0 / count
        step = weight * deviation
        model.mean = mean + step
        model.variance = (1.0 - weight) * (model.variance + deviation * step)
        return scored

    def stored(self, model: EwmaModel) -> Any:
        return model.count, model.mean, model.variance

    def of_stored(self, stored: Any) -> EwmaModel:
        count, mean, variance = stored
        return EwmaModel(int(count), float(mean), float(variance))
