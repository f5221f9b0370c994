"""A band between two quantiles of the last values."""

from collections.abc import Iterable, Sequence

from streamd.anomalies.detector import Scores
from streamd.anomalies.limits import ROUNDING, Limits
from streamd.anomalies.sorted_window import SortedWindow
from streamd.anomalies.windowed import Windowed
from streamd.core.finite import MOST


class Quantiles(Windowed):
    """Scores a value by its distance from the median, in distances of a quantile from the median.

    Both sides have a scale of their own, so a skewed distribution gets a skewed band. A value costs about
    1.2 µs with a window of 200, and a model takes 16 bytes for each value of the window and 350.
    """

    def __init__(self, limits: Limits, window: int, low: float, high: float) -> None:
        """`low` and `high` are the shares of values below both quantiles."""
        super().__init__(limits, window)
        self._low, self._high = low, high

    def see_all(
        self, models: Sequence[SortedWindow | None], values: Sequence[float], times: Iterable[float]
    ) -> Scores:
        # Without calls of `Limits` for each value, as in `Ewma`.
        found = Scores.none(len(values))
        flags, scores, lows, highs = found.flags, found.scores, found.lows, found.highs
        limits, low_share, high_share = self.limits, self._low, self._high
        fewest, threshold, min_width = limits.min_samples, limits.threshold, limits.min_width
        inside, clipped = limits.learn == "inside", limits.learn == "clipped"
        place = -1
        for model, seen in zip(models, values, strict=True):
            place += 1
            if model is None or not -MOST <= seen <= MOST:
                found.unusable += 1
                continue
            value = seen
            if len(model.values) >= fewest:
                centre = model.median()
                below = threshold * (centre - model.quantile(low_share))
                if below < min_width:  # noqa: PLR1730 - a call of max costs 50 ns
                    below = min_width
                above = threshold * (model.quantile(high_share) - centre)
                if above < min_width:  # noqa: PLR1730 - the same
                    above = min_width
                rounding = centre * ROUNDING if centre > 0.0 else centre * -ROUNDING
                deviation = value - centre
                is_above = deviation > 0.0 or (deviation == 0.0 and below <= rounding)
                reach = above if is_above else below
                if reach > rounding:
                    scores[place] = deviation / reach * threshold
                    low, high = centre - below, centre + above
                    lows[place] = low if below > rounding else None
                    highs[place] = high if above > rounding else None
                    flags[place] = unusual = value > high if is_above else value < low
                    if unusual and inside:
                        continue
                    if unusual and clipped:
                        value = high if is_above else low
                else:
                    found.flat += 1
            model.add(value)
        return found
