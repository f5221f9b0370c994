"""Cumulative sums: the test of Page, and that of Page and Hinkley."""

from typing import Any

from streamd.drifts.detector import Change, DriftDetector
from streamd.drifts.reference import SeriesReference


class CusumModel(SeriesReference):
    """The reference and the sums for both directions, in standard deviations of the reference."""

    __slots__ = (
        "centre",
        "down",
        "down_count",
        "down_total",
        "total",
        "up",
        "up_count",
        "up_total",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.centre = 0.0
        """What values are compared with, as a distance from the mean of the reference."""
        self.total = 0.0
        """The sum of all values since the last change, as distances from the mean of the reference."""
        self.up = self.down = 0.0
        """The sums; 0 if the values since the last change have not moved in that direction."""
        self.up_count = self.down_count = 0
        """The number of values since each sum was last 0, which is where a change has begun."""
        self.up_total = self.down_total = 0.0
        """The sum of these values, as distances from the mean of the reference."""


class Cusum(DriftDetector[CusumModel]):
    """Adds up how far values are above the centre, or below it, and finds a change when a sum is too large.

    With the mean of the reference as the centre this is the CUSUM test (Page, "Continuous inspection
    schemes", 1954). If the centre `follows`, it is the mean of all values since the last change: the test of
    Page and Hinkley (Hinkley, "Inference about the change-point from cumulative sum tests", 1971). After a
    change a new reference is learned. A value costs about 0.5 µs.
    """

    def __init__(
        self,
        fewest: int,
        min_scale: float = 0.0,
        threshold: float = 10.0,
        slack: float = 0.5,
        clip: float = 4.0,
        *,
        follows: bool = False,
    ) -> None:
        """`threshold`, `slack` and `clip` are in standard deviations of the reference."""
        self._fewest, self._min_scale = fewest, min_scale
        self._threshold, self._slack, self._clip = threshold, slack, clip
        self._follows = follows

    def new(self) -> CusumModel:
        return CusumModel()

    def see(self, model: CusumModel, value: float, *, is_share: bool = False) -> Change | None:
        model.count = count = model.count + 1
        scale = model.scale
        if not scale:
            model.learn(value, self._fewest, self._min_scale)
            return None
        distance = (value - model.mean) / scale
        model.total += distance
        clip = self._clip
        step = -clip if distance < -clip else min(distance, clip)
        if self._follows:
            model.centre = centre = model.centre + (step - model.centre) / count
            step -= centre
        found = None
        up = model.up + step - self._slack
        if up > 0.0:
            model.up = up
            model.up_count += 1
            model.up_total += distance
            if up > self._threshold:
                found = self._change(model, model.up_total, model.up_count)
        elif model.up_count:
            model.up = model.up_total = 0.0
            model.up_count = 0
        down = model.down - step - self._slack
        if down > 0.0:
            model.down = down
            model.down_count += 1
            model.down_total += distance
            if down > self._threshold:
                found = self._change(model, model.down_total, model.down_count)
        elif model.down_count:
            model.down = model.down_total = 0.0
            model.down_count = 0
        if found is not None:
            CusumModel.__init__(model)
        return found

    @staticmethod
    def _change(model: CusumModel, total: float, count: int) -> Change:
        """The change whose values have this sum and number. The reference has a sum of 0."""
        mean, scale, before = model.mean, model.scale, model.count - count
        return Change(
            mean + scale * (model.total - total) / before, mean + scale * total / count, before, count
        )

    def stored(self, model: CusumModel) -> Any:
        return (
            model.count, model.mean, model.squares, model.scale, model.centre, model.total,
            model.up, model.up_count, model.up_total, model.down, model.down_count, model.down_total,
        )  # fmt: skip

    def of_stored(self, stored: Any) -> CusumModel:
        model = CusumModel()
        (
            model.count, model.mean, model.squares, model.scale, model.centre, model.total,
            model.up, model.up_count, model.up_total, model.down, model.down_count, model.down_total,
        ) = stored  # fmt: skip
        return model
