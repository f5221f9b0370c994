"""What all values of a field have in common."""

from collections.abc import Sequence
from math import nan
from typing import Any


class Facts:
    """The values of a field of some records, and what is known about all of them.

    A fact costs about 0.01 µs a value when somebody asks first, and nothing later. So steps one after the
    other do not look at the same values again. Nobody may change the values.
    """

    __slots__ = ("_is_finite", "_kinds", "_some", "values")

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        self._kinds: set[type] | None = None
        self._some: Sequence[Any] | None = None
        self._is_finite: bool | None = None

    @property
    def kinds(self) -> set[type]:
        """The types of the values."""
        if self._kinds is None:
            self._kinds = set(map(type, self.values))
        return self._kinds

    @property
    def some(self) -> Sequence[Any]:
        """One value if all are of one type and equal, as those of a constant are; else all values."""
        if self._some is None:
            values = self.values
            # The first comparison is a quick one. 1, 1.0 and true are equal, too.
            is_one = bool(values) and values[0] is values[-1] and len(self.kinds) == 1
            self._some = values[:1] if is_one and values.count(values[0]) == len(values) else values
        return self._some

    @property
    def are_finite(self) -> bool:
        """Whether all values are floats and their sum is finite, so that none is NaN or infinite."""
        if self._is_finite is None:
            total = sum(self.some) if self.kinds == {float} else nan
            self._is_finite = total - total == 0.0
        return self._is_finite
