"""Aggregates of counters that grow and begin anew: delta and rate."""

from collections.abc import Sequence
from itertools import chain, pairwise
from operator import itemgetter
from typing import Any

from streamd.windows.aggregate import Aggregate
from streamd.windows.exact import stored_number
from streamd.windows.moments import US

Samples = tuple[tuple[int, float], ...]
"""Times and values, in the order in which they came."""

_time = itemgetter(0)


class Increase(Aggregate):
    """The increase of a counter between the first and the last record of the window, by time.

    A value below the one before means that the counter began anew at 0, so it counts whole. None with fewer
    than two values. As records may come in any order, the times and values of the window are kept, about
    130 bytes each.
    """

    needs_time = True

    def empty(self) -> Samples:
        return ()

    def fold(self, state: Samples, values: Sequence[Any], times: Sequence[int]) -> Samples:
        return (*state, *zip(times, values, strict=True))

    def merge(self, one: Samples, other: Samples) -> Samples:
        return one + other

    def result(self, state: Samples) -> float | None:
        if len(state) < 2:  # noqa: PLR2004 - an increase is between two
            return None
        values = [value for _, value in sorted(state, key=_time)]
        return stored_number(sum([new - old if new >= old else new for old, new in pairwise(values)]))

    def dump(self, state: Samples) -> Any:
        return list(chain.from_iterable(state))

    def load(self, stored: Any) -> Samples:
        return tuple(zip(map(int, stored[::2]), stored[1::2], strict=True))


class Rate(Increase):
    """The increase of a counter per second, from the first to the last record; None if both have one time."""

    def result(self, state: Samples) -> float | None:
        increase = super().result(state)
        times = [at for at, _ in state]
        if increase is None or max(times) == min(times):
            return None
        return stored_number(increase * US / (max(times) - min(times)))
