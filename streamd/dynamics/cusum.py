"""Finds a change of a rate soon after it happens, by cumulative sums (Page, 1954)."""

import math


class RateCusum:
    """Sums the deviations of standardised values from 0, in both directions.

    A change of `slack` standard deviations or less is no change. With the defaults a rate that does not
    change gives a false alarm in about 1 of 900 values; one of 2 standard deviations is found after 3 or 4.
    """

    __slots__ = ("_down", "_limit", "_slack", "_up")

    def __init__(self, slack: float = 0.5, limit: float = 5.0) -> None:
        self._slack = slack
        self._limit = limit
        self._up = self._down = 0.0

    def observe(self, deviation: float) -> bool:
        """Enter a value less its mean, divided by its standard deviation. True: the mean has changed."""
        if not math.isfinite(deviation):
            return False
        self._up = max(0.0, self._up + deviation - self._slack)
        self._down = max(0.0, self._down - deviation - self._slack)
        if max(self._up, self._down) <= self._limit:
            return False
        self.reset()
        return True

    def reset(self) -> None:
        """Forget the deviations."""
        self._up = self._down = 0.0
