"""Numbers of records as floats."""

from math import nan
from typing import Any

MOST = 1e150
"""The largest number that steps compute with: the squares of larger ones are no finite numbers."""


def finite(value: Any) -> float:
    """The integer or float as a float; NaN if it is something else, not finite, or larger than `MOST`.

    A boolean is no number.
    """
    kind = type(value)
    return float(value) if (kind is float or kind is int) and -MOST <= value <= MOST else nan
