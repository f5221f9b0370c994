"""The limits of all detectors: when a value is unusual, and what a model learns of it."""

from dataclasses import dataclass
from typing import Literal

Learn = Literal["all", "clipped", "inside"]

Scored = tuple[float, float, float]
"""The score, and the lower and the upper end of the band."""

MOST = 1e150
"""The largest value that is scored: the squares of larger ones are no finite numbers."""
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

    def score(self, value: float, centre: float, below: float, above: float) -> Scored | None:
        """The score of a value from the scales on both sides; None if one is zero.

        It is the distance from the centre in scales, so that at an end of the band it is the threshold.
        """
        below, above = (
            max(self.threshold * below, self.min_width),
            max(self.threshold * above, self.min_width),
        )
        if min(below, above) <= abs(centre) * ROUNDING:
            return None
        deviation = value - centre
        return (
            deviation / (above if deviation > 0 else below) * self.threshold,
            centre - below,
            centre + above,
        )

    def learned(self, value: float, scored: Scored) -> float | None:
        """What is learned of a scored value; None if nothing is."""
        _, low, high = scored
        if low <= value <= high or self.learn == "all":
            return value
        if self.learn == "clipped":
            return low if value < low else high
        return None
