"""Aggregates that are exact: count, sum, mean, min, max, stddev, first and last."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from streamd.core.json_rules import INT_MAX, INT_MIN
from streamd.windows.aggregate import SCALARS, Aggregate

Sum = tuple[float, float]
"""A sum and its correction (Neumaier): the sum of both is nearly exact. Integers need no correction."""


def add(one: Sum, value: float) -> Sum:
    """The sum with one more value."""
    total, correction = one
    new = total + value
    if type(new) is int or not math.isfinite(new):
        return new, correction
    correction += (total - new) + value if abs(total) >= abs(value) else (value - new) + total
    return new, correction


def stored_number(value: float) -> float | None:
    """The value if it is a number that a sink can store."""
    if type(value) is int:
        return value if INT_MIN <= value <= INT_MAX else float(value)
    return value if math.isfinite(value) else None


class Count(Aggregate):
    """The number of records, or of records in which the field is not null."""

    takes = None

    def empty(self) -> int:
        return 0

    def fold(self, state: int, values: Sequence[Any], times: Sequence[int]) -> int:
        return state + len(values)

    def merge(self, one: int, other: int) -> int:
        return one + other

    def result(self, state: int) -> int:
        return state

    def load(self, stored: Any) -> int:
        return int(stored)


class Total(Aggregate):
    """The sum; None without values. The sum of integers is exact, of floats nearly."""

    def empty(self) -> tuple[int, Sum]:
        return 0, (0, 0)

    def fold(self, state: tuple[int, Sum], values: Sequence[Any], times: Sequence[int]) -> tuple[int, Sum]:
        return state[0] + len(values), add(state[1], sum(values))

    def merge(self, one: tuple[int, Sum], other: tuple[int, Sum]) -> tuple[int, Sum]:
        total, correction = add(one[1], other[1][0])
        return one[0] + other[0], (total, correction + other[1][1])

    def result(self, state: tuple[int, Sum]) -> float | None:
        return stored_number(sum(state[1])) if state[0] else None

    def load(self, stored: Any) -> tuple[int, Sum]:
        count, (total, correction) = stored
        return int(count), (total + 0, correction + 0)


class Mean(Total):
    """The arithmetic mean; None without values."""

    def result(self, state: tuple[int, Sum]) -> float | None:
        return stored_number(sum(state[1]) / state[0]) if state[0] else None


class Extreme(Aggregate):
    """The least or the greatest value."""

    def __init__(self, field: str | None, best: Callable[[Any], Any]) -> None:
        super().__init__(field)
        self.best = best

    def empty(self) -> None:
        return None

    def fold(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        if not values:
            return state
        best = self.best(values)
        return best if state is None else self.best((state, best))

    def merge(self, one: Any, other: Any) -> Any:
        if one is None or other is None:
            return other if one is None else one
        return self.best((one, other))

    def result(self, state: Any) -> Any:
        return state

    def load(self, stored: Any) -> Any:
        return stored if stored is None else stored + 0


Moments = tuple[int, float, float]
"""Count, mean, and the sum of squared distances from the mean."""


class Deviation(Aggregate):
    """The standard deviation of a sample (n - 1); None with fewer than two values."""

    def empty(self) -> Moments:
        return 0, 0.0, 0.0

    def fold(self, state: Moments, values: Sequence[Any], times: Sequence[int]) -> Moments:
        if not values:
            return state
        count = len(values)
        mean = sum(values) / count
        return self.merge(state, (count, mean, sum([(value - mean) ** 2 for value in values])))

    def merge(self, one: Moments, other: Moments) -> Moments:
        """By Chan's formula, which is stable if the mean is large and the deviation small."""
        count = one[0] + other[0]
        if not one[0] or not other[0]:
            return one if one[0] else other
        distance = other[1] - one[1]
        mean = one[1] + distance * other[0] / count
        return count, mean, one[2] + other[2] + distance * distance * one[0] * other[0] / count

    def result(self, state: Moments) -> float | None:
        return stored_number(math.sqrt(state[2] / (state[0] - 1))) if state[0] > 1 else None

    def load(self, stored: Any) -> Moments:
        count, mean, squares = stored
        return int(count), mean + 0, squares + 0


class Edge(Aggregate):
    """The value of the earliest or the latest record by time; of several at that time, the first or last."""

    takes = SCALARS
    needs_time = True

    def __init__(self, field: str | None, *, latest: bool) -> None:
        super().__init__(field)
        self._latest = latest

    def empty(self) -> None:
        return None

    def fold(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        for at, value in zip(times, values, strict=True):
            if state is None or (at >= state[0] if self._latest else at < state[0]):
                state = (at, value)
        return state

    def merge(self, one: Any, other: Any) -> Any:
        if one is None or other is None:
            return other if one is None else one
        return other if (other[0] >= one[0] if self._latest else other[0] < one[0]) else one

    def result(self, state: Any) -> Any:
        return None if state is None else state[1]

    def load(self, stored: Any) -> Any:
        if stored is None:
            return None
        at, value = stored
        return int(at), value
