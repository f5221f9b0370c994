"""The exponentially weighted moving average and variance."""

from collections.abc import Iterable, Sequence
from math import ceil, sqrt
from typing import Any

from streamd.anomalies.detector import Detector, KeyModel, Scores
from streamd.anomalies.limits import ROUNDING, Limits
from streamd.core.finite import MOST


class EwmaModel(KeyModel):
    """The mean and the variance of the values so far; newer values weigh more."""

    __slots__ = ("count", "mean", "variance")

    def __init__(self, count: int = 0, mean: float = 0.0, variance: float = 0.0) -> None:
        self.last = 0
        self.count = count
        self.mean = mean
        self.variance = variance

    def learn(self, deviation: float, least: float) -> None:
        """Learn one of the first values by its distance from the mean. Its weight is at least `least`."""
        self.count += 1
        weight = max(least, 1.0 / self.count)
        step = weight * deviation
        self.mean += step
        self.variance = (1.0 - weight) * (self.variance + deviation * step)


class Ewma(Detector[EwmaModel]):
    """Scores a value by its distance from the mean in standard deviations.

    The update is that of Finch, "Incremental calculation of weighted mean and variance" (2009), section 9.
    Until 1/n is below the weight of a new value, the mean and variance are those of all values. A value costs
    about 0.35 µs, and a model takes 130 bytes.
    """

    def __init__(self, limits: Limits, half_life: float) -> None:
        """After `half_life` further values a value weighs half as much."""
        super().__init__(limits)
        self._weight = 1.0 - 0.5 ** (1.0 / half_life)
        self._from = max(limits.min_samples, 2)
        self._enough = max(ceil(1.0 / self._weight) - 1, self._from)
        """The values of a model are counted up to this number; then a new one has this weight."""
        self._threshold, self._min_width = limits.threshold, limits.min_width

    def new(self) -> EwmaModel:
        return EwmaModel()

    def see_all(
        self, models: Sequence[EwmaModel | None], values: Sequence[float], times: Iterable[float]
    ) -> Scores:
        # As `Limits` for one scale, without calls for each value, which would cost as much as the rest.
        found = Scores.none(len(values))
        flags, scores, lows, highs = found.flags, found.scores, found.lows, found.highs
        fewest, threshold, min_width, least = self._from, self._threshold, self._min_width, self._weight
        kept, enough = 1.0 - least, self._enough
        inside, clipped = self.limits.learn == "inside", self.limits.learn == "clipped"
        most, lowest = MOST, -MOST
        place = -1
        for model, value in zip(models, values, strict=True):
            place += 1
            if model is None or not lowest <= value <= most:
                found.unusable += 1
                continue
            count, mean, variance = model.count, model.mean, model.variance
            deviation = value - mean
            if count >= fewest:
                reach = sqrt(variance) * threshold
                if reach < min_width:  # noqa: PLR1730 - a call of max costs 50 ns
                    reach = min_width
                if -reach < mean * ROUNDING < reach:
                    scores[place] = deviation / reach * threshold
                    lows[place] = low = mean - reach
                    highs[place] = high = mean + reach
                    if low <= value <= high:
                        flags[place] = False
                    else:
                        flags[place] = True
                        if inside:
                            continue
                        if clipped:
                            deviation = reach if deviation > 0.0 else -reach
                else:
                    found.flat += 1
            if count >= enough:
                step = least * deviation
                model.mean = mean + step
                model.variance = kept * (variance + deviation * step)
            else:
                model.learn(deviation, least)
        return found

    def stored(self, model: EwmaModel) -> Any:
        return model.count, model.mean, model.variance

    def of_stored(self, stored: Any) -> EwmaModel:
        count, mean, variance = stored
        return EwmaModel(int(count), float(mean), float(variance))
