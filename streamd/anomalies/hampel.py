"""The median and the median absolute deviation of the last values."""

from collections.abc import Iterable, Sequence

from streamd.anomalies.detector import Scores
from streamd.anomalies.limits import ROUNDING, Limits
from streamd.anomalies.sorted_window import SortedWindow
from streamd.anomalies.windowed import Windowed
from streamd.core.finite import MOST

NORMAL = 1.4826
"""The standard deviation of a normal distribution in median absolute deviations."""


class Hampel(Windowed):
    """Scores a value by its distance from the median of the last values.

    The scale is the median absolute deviation times 1.4826 (Hampel, "The influence curve and its role in
    robust estimation", 1974). Up to half of the values may be unusual without an effect on both. A value
    costs about 1.0 µs with a window of 31, and a model takes 16 bytes for each value of the window and 350.
    """

    def __init__(self, limits: Limits, window: int) -> None:
        super().__init__(limits, window)
        self._factor = limits.threshold * NORMAL

    def see_all(
        self, models: Sequence[SortedWindow | None], values: Sequence[float], times: Iterable[float]
    ) -> Scores:
        # Without calls of `Limits` for each value, as in `Ewma`.
        found = Scores.none(len(values))
        flags, scores, lows, highs = found.flags, found.scores, found.lows, found.highs
        limits, factor, deviation_of = self.limits, self._factor, self.deviation
        fewest, threshold, min_width = limits.min_samples, limits.threshold, limits.min_width
        inside, clipped = limits.learn == "inside", limits.learn == "clipped"
        most, lowest = MOST, -MOST
        place = -1
        for model, seen in zip(models, values, strict=True):
            place += 1
            if model is None or not lowest <= seen <= most:
                found.unusable += 1
                continue
            value = seen
            ordered = model.ordered
            count = len(ordered)
            if count >= fewest:
                half = count >> 1
                median = ordered[half] if count & 1 else (ordered[half - 1] + ordered[half]) / 2
                reach = factor * deviation_of(model, median)
                if reach < min_width:  # noqa: PLR1730 - a call of max costs 50 ns
                    reach = min_width
                if -reach < median * ROUNDING < reach:
                    deviation = value - median
                    scores[place] = deviation / reach * threshold
                    lows[place] = low = median - reach
                    highs[place] = high = median + reach
                    if low <= value <= high:
                        flags[place] = False
                    else:
                        flags[place] = True
                        if inside:
                            continue
                        if clipped:
                            value = high if deviation > 0.0 else low
                else:
                    found.flat += 1
            model.add(value)
        return found

    @staticmethod
    def deviation(window: SortedWindow, median: float) -> float:
        """The median absolute deviation; for an even number of values the greater of both middle distances.

        The nearest half of the values is a range of the ordered ones, and its farther end is the median
        distance. The range moves while the value that would come in is nearer than the one that would leave.
        A new value moves it by a place or two, so the search begins where the last one has ended.
        """
        ordered = window.ordered
        half = len(ordered) >> 1
        top = len(ordered) - half - 1
        start = window.start
        if start > top:  # noqa: PLR1730 - a call of min costs 50 ns
            start = top
        below, above = median - ordered[start], ordered[start + half] - median
        if below > above:
            while start < top and (new := ordered[start + half + 1] - median) < below:
                start += 1
                below, above = median - ordered[start], new
        else:
            while start > 0 and (new := median - ordered[start - 1]) < above:
                start -= 1
                below, above = new, ordered[start + half] - median
        window.start = start
        return below if below > above else above  # noqa: FURB136 - the same
