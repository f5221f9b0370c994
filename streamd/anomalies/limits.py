"""The limits of all detectors: when a value is unusual, and what a model learns of it."""

from dataclasses import dataclass
from typing import Literal

Learn = Literal["all", "clipped", "inside"]

Scored = tuple[float, float, float]
"""The score, and the lower and the upper end of the band."""

ROUNDING = 1e-12
"""A reach below this part of the values is the rounding of their sums, and counts as zero."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Options that all detectors share."""

    threshold: float
    """The band reaches this many scales from the centre."""
    min_width: float = 0.0
    """The band reaches at least this far from the centre, in the unit of the values."""
    min_samples: int = 30
    """A model does not score before it has learned so many values."""
    learn: Learn = "clipped"
    """What a model learns of a value outside the band: the value, the nearer end of the band, or nothing."""

    def score(self, value: float, centre: float, scale: float) -> Scored | None:
        """The score of a value, the distance from the centre in scales; None if the scale is zero.

        If `min_width` is the reach, a scale is that divided by the threshold: at an end of the band the score
        is the threshold.
        """
        reach = max(self.threshold * scale, self.min_width)
        if reach <= abs(centre) * ROUNDING:
            return None
        return (value - centre) / reach * self.threshold, centre - reach, centre + reach

    def learned(self, value: float, scored: Scored) -> float | None:
        """What is learned of a scored value; None if nothing is."""
        _, low, high = scored
        if low <= value <= high or self.learn == "all":
            return value
        if self.learn == "clipped":
            return low if value < low else high
        return None
