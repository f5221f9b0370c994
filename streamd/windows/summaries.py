"""Counts, sums, means, least and greatest values of one field, computed together.

These are the aggregates of most windows. They need the same few facts of the rows, so they share one state,
and a window costs a third of what it costs with a state for each aggregate.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from operator import itemgetter
from typing import Any

from streamd.windows.aggregate import Aggregate
from streamd.windows.aggregates import CHUNK, Aggregates, States
from streamd.windows.exact import Count, Extreme, Mean, Sum, Total, add, stored_number

ROWS, VALUES, TOTAL, MEAN, LEAST, GREATEST = range(6)
"""The facts of some rows: their number, that of values that are not null, and what these are."""


def new_aggregates(aggregates: Mapping[str, Aggregate]) -> Aggregates:
    """The aggregates, computed together if they can be."""
    facts = [_fact(one) for one in aggregates.values()]
    fields = {one.field for one in aggregates.values() if one.field is not None}
    numbers = {fact for fact in facts if fact not in (ROWS, VALUES)}
    if None in facts or len(fields) > 1 or (VALUES in facts and not numbers):
        return Aggregates(aggregates)
    return Summaries(aggregates, [fact for fact in facts if fact is not None])


def _fact(one: Aggregate) -> int | None:
    kind = type(one)
    if kind is Count:
        return ROWS if one.field is None else VALUES
    if isinstance(one, Extreme):
        return LEAST if one.best is min else GREATEST
    if kind is Total:
        return TOTAL
    return MEAN if kind is Mean else None


class Summaries(Aggregates):
    """Aggregates whose state is the number of rows, that of values, the sum, the least and the greatest."""

    def __init__(self, aggregates: Mapping[str, Aggregate], facts: Sequence[int]) -> None:
        super().__init__(aggregates)
        pick: Callable[[tuple[Any, ...]], Any] = itemgetter(*facts)
        self._pick = pick if len(facts) > 1 else lambda every: (pick(every),)
        self._has_values = bool(self.fields)

    def empty(self) -> States:
        return [0, 0, (0, 0), None, None]

    def fold(self, states: States, rows: Sequence[Any]) -> States:
        if not rows:
            return states
        count = len(rows)
        if not self._has_values:
            return [states[0] + count, *states[1:]]
        values, total = _present(rows)
        if not values:
            return [states[0] + count, *states[1:]]
        _, _, _, least, greatest = states
        low, high = min(values), max(values)
        return [
            states[0] + count,
            states[1] + len(values),
            add(states[2], total),
            low if least is None else min(least, low),
            high if greatest is None else max(greatest, high),
        ]

    def merge(self, one: States, other: States) -> States:
        rows, values, (total, correction), least, greatest = other
        if not values:
            return [one[0] + rows, *one[1:]]
        if not one[1]:
            return [one[0] + rows, *other[1:]]
        new_total, its = add(one[2], total)
        total_of_both: Sum = new_total, its + correction
        return [
            one[0] + rows, one[1] + values, total_of_both, min(one[3], least), max(one[4], greatest),
        ]  # fmt: skip

    def results(self, states: States) -> dict[str, Any]:
        rows, count, total, least, greatest = states
        if not count:
            return dict(zip(self.names, self._pick((rows, 0, None, None, None, None)), strict=True))
        whole = sum(total)
        facts = (rows, count, stored_number(whole), stored_number(whole / count), least, greatest)
        return dict(zip(self.names, self._pick(facts), strict=True))

    def result(self, states: States | None, rows: list[Any]) -> dict[str, Any]:
        if states is not None or len(rows) > CHUNK or not self._has_values:
            return super().result(states, rows)
        values, total = _present(rows)
        if not values or type(total) is int or not isfinite(total):
            return super().result(None, rows)
        count = len(values)
        facts = (len(rows), count, total, total / count, min(values), max(values))
        return dict(zip(self.names, self._pick(facts)))  # noqa: B905 - as long as each other, always

    def dump(self, states: States | None) -> list[Any] | None:
        return states

    def load(self, stored: Any) -> States | None:
        if stored is None:
            return None
        rows, values, (total, correction), least, greatest = stored
        if (least is None) != (not values):
            raise ValueError("values without a least one")
        return [
            int(rows),
            int(values),
            (total + 0, correction + 0),
            least if least is None else least + 0,
            greatest if greatest is None else greatest + 0,
        ]


def _present(rows: Sequence[Any]) -> tuple[Sequence[Any], float]:
    """The values that are not null, and their sum. The sum fails with a null, so it finds it for nothing."""
    try:
        return rows, sum(rows)
    except TypeError:
        values = [value for value in rows if value is not None]
        return values, sum(values)
