"""The reference of a series: the mean and the standard deviation of its first values."""

from math import sqrt

ROUNDING = 1e-12
"""A standard deviation below this part of the mean is the rounding of its sums, and counts as zero."""


class SeriesReference:
    """Learns the reference. It is complete with enough values that are not all equal."""

    __slots__ = ("count", "mean", "newest_us", "scale", "squares")

    def __init__(self) -> None:
        self.count = 0
        """The number of values since the last change, also after the reference is complete."""
        self.mean = 0.0
        self.squares = 0.0
        """The sum of the squared distances from the mean."""
        self.scale = 0.0
        """The standard deviation; 0 while the reference is incomplete."""

        self.newest_us = -(1 << 62)
        """The latest time of a value, if the step looks at times."""

    def learn(self, value: float, fewest: int, min_scale: float) -> None:
        """Add the value that is number `count` (Welford, "Note on a method for calculating corrected sums of
        squares and products", 1962).
        """
        deviation = value - self.mean
        self.mean += deviation / self.count
        self.squares += deviation * (value - self.mean)
        if self.count >= fewest:
            scale = max(sqrt(self.squares / self.count), min_scale)
            if scale > abs(self.mean) * ROUNDING:
                self.scale = scale
