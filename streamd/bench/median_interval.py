"""How sure the median of a few measurements is."""

import math
from collections.abc import Sequence

CONFIDENCE = 0.95


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Two of the values between which the true median lies with this confidence; None from too few values.

    The number of values below the median is binomial, whatever their distribution (Conover, "Practical
    Nonparametric Statistics", section 3.2). From six values on, 95 % is possible.
    """
    ordered = sorted(values)
    count = len(ordered)
    found = None
    beyond = 0.0
    for place in range(count // 2):
        beyond += 2 * math.comb(count, place) / 2**count
        if 1 - beyond < confidence:
            break
        found = ordered[place], ordered[count - 1 - place]
    return found
