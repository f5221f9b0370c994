"""The aggregates of a step, applied to the rows of its windows."""

from collections.abc import Mapping, Sequence
from typing import Any

from streamd.windows.aggregate import Aggregate

CHUNK = 64
"""KeyedRows that are folded at once. Floats are summed chunk by chunk, so that neither batches nor snapshots
change a result in its last digit."""

States = list[Any]
"""The state of each aggregate."""


def _common(every: list[frozenset[type] | None]) -> frozenset[type] | None:
    """The types that all take."""
    limited = [takes for takes in every if takes is not None]
    return frozenset.intersection(*limited) if limited else None


class Aggregates:
    """What is kept of a record, and how it is folded.

    A row is the value of the only field, or a tuple with the time first, if an aggregate needs it, and then
    the values of `fields`.
    """

    def __init__(self, aggregates: Mapping[str, Aggregate]) -> None:
        self.names = tuple(aggregates)
        self._every = tuple(aggregates.values())
        self.fields = tuple(dict.fromkeys(one.field for one in self._every if one.field is not None))
        self.takes = tuple(
            _common([one.takes for one in self._every if one.field == field]) for field in self.fields
        )
        """The types of values that each field may have, beside null; None for any."""
        self.is_timed = any(one.needs_time for one in self._every)
        self.is_plain = len(self.fields) <= 1 and not self.is_timed
        """Whether a row is a value and no tuple."""
        self._changes = any(type(one).copy is not Aggregate.copy for one in self._every)
        """Whether states are changed in place."""
        self._folds = [(one.fold, one.field is None) for one in self._every]
        self._results = [(name, one.result) for name, one in aggregates.items()]
        self._places = [None if one.field is None else self.fields.index(one.field) for one in self._every]

    def empty(self) -> States:
        """The states without rows."""
        return [one.empty() for one in self._every]

    def fold(self, states: States, rows: Sequence[Any]) -> States:
        """The states with these rows."""
        if not rows:
            return states
        if self.is_plain:
            present = rows if None not in rows else [value for value in rows if value is not None]
            return [
                fold(state, rows if all_rows else present, ())
                for (fold, all_rows), state in zip(self._folds, states, strict=True)
            ]
        columns: Sequence[Any] = list(zip(*rows, strict=True))
        times: Sequence[int] = ()
        if self.is_timed:
            times, *columns = columns
        presents = [self._present(column, times) for column in columns]
        return [
            one.fold(state, rows, times) if place is None else one.fold(state, *presents[place])
            for one, state, place in zip(self._every, states, self._places, strict=True)
        ]

    @staticmethod
    def _present(column: Sequence[Any], times: Sequence[int]) -> tuple[Sequence[Any], Sequence[int]]:
        """The values that are not null, with their times."""
        if None not in column:
            return column, times
        if times:
            times = [at for at, value in zip(times, column, strict=True) if value is not None]
        return [value for value in column if value is not None], times

    def fold_chunks(self, states: States | None, rows: list[Any]) -> States:
        """Fold the complete chunks, and remove them from `rows`."""
        if states is None:
            states = self.empty()
        whole = len(rows) // CHUNK * CHUNK
        for start in range(0, whole, CHUNK):
            states = self.fold(states, rows[start : start + CHUNK])
        del rows[:whole]
        return states

    def folded(self, states: States | None, rows: list[Any]) -> States:
        """The states with all rows; `states` and `rows` stay as they are. None: no row was folded before."""
        if states is None:
            states = self.empty()
        elif not rows:
            return states
        elif self._changes:
            states = self._copied(states)
        if len(rows) <= CHUNK:
            return self.fold(states, rows)
        for start in range(0, len(rows), CHUNK):
            states = self.fold(states, rows[start : start + CHUNK])
        return states

    def merge(self, one: States, other: States) -> States:
        """The states of the rows of both; both stay as they are."""
        if self._changes:
            one = self._copied(one)
        return [a.merge(mine, its) for a, mine, its in zip(self._every, one, other, strict=True)]

    def _copied(self, states: States) -> States:
        return [one.copy(state) for one, state in zip(self._every, states, strict=True)]

    def result(self, states: States | None, rows: list[Any]) -> dict[str, Any]:
        """The value of each aggregate by its name, with these rows that are not folded."""
        return self.results(self.folded(states, rows))

    def results(self, states: States) -> dict[str, Any]:
        """The value of each aggregate by its name."""
        return {
            name: one.result(state) for name, one, state in zip(self.names, self._every, states, strict=True)
        }

    def dump(self, states: States | None) -> list[Any] | None:
        """The states as values of MessagePack."""
        if states is None:
            return None
        return [one.dump(state) for one, state in zip(self._every, states, strict=True)]

    def load(self, stored: Any) -> States | None:
        """The states of what `dump` returned. Raises ValueError, TypeError or KeyError."""
        if stored is None:
            return None
        return [one.load(state) for one, state in zip(self._every, stored, strict=True)]

    def load_rows(self, stored: list[Any]) -> list[Any]:
        """The rows of a snapshot, where tuples have become lists."""
        if self.is_plain:
            return list(stored)
        width = len(self.fields) + self.is_timed
        if not all(len(row) == width for row in stored):
            raise ValueError("rows of another width")
        return [tuple(row) for row in stored]
