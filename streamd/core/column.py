"""One value for each row of a batch."""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Column(Generic[T]):
    """The values of a batch's rows, in order.

    `values` has a value for each row; if it is None, every row has the value `same`. Most batches come from
    one read of one connection, so most columns hold a single value.
    """

    __slots__ = ("same", "values")

    def __init__(self, same: T, values: list[T] | None = None) -> None:
        """If `values` is given, `same` is its first value, or any value if the list is empty."""
        self.same = same
        self.values = values

    @classmethod
    def each(cls, values: list[T], otherwise: T) -> "Column[T]":
        """A value for each row; `otherwise` becomes `same` if there is no row."""
        return cls(values[0] if values else otherwise, values)

    def __getitem__(self, index: int) -> T:
        return self.same if self.values is None else self.values[index]

    def of(self, count: int) -> Iterable[T]:
        """The values of all `count` rows."""
        return repeat(self.same, count) if self.values is None else self.values

    def part(self, start: int | None, stop: int | None) -> "Column[T]":
        """The rows from `start` up to `stop`, as in a slice."""
        return self if self.values is None else Column.each(self.values[start:stop], self.same)

    def take(self, indexes: Sequence[int]) -> "Column[T]":
        """The rows at `indexes`, in that order."""
        if self.values is None:
            return self
        return Column.each(list(map(self.values.__getitem__, indexes)), self.same)

    def extended(self, count: int, other: "Column[T]", other_count: int) -> "Column[T]":
        """These `count` rows followed by those of another column. The list of this column grows in place."""
        if self.values is None:
            if other.values is None and other.same is self.same:
                return self
            return Column(self.same, [*self.of(count), *other.of(other_count)])
        self.values += other.of(other_count)
        return self

    def map(self, function: Callable[[T], U]) -> "Column[U]":
        """The column of the function's results."""
        if self.values is None:
            return Column(function(self.same))
        return Column.each(list(map(function, self.values)), function(self.same))

    @staticmethod
    def merge(parts: "Sequence[tuple[Column[T], int]]") -> "Column[T]":
        """The columns of several batches, each with its number of rows, as one. At least one part."""
        values: list[T] = []
        for column, count in parts:
            values += column.of(count)
        return Column.each(values, parts[0][0].same)
