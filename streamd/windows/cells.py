"""What a series of StatsD adds up in one window, by its type."""

from collections.abc import Sequence
from typing import Any, Protocol

from streamd.core.batch import Record
from streamd.windows.exact import Sum, add, stored_number
from streamd.windows.members import Members
from streamd.windows.samples import Samples

GAUGE, SET = "gauge", "set"


class Cell(Protocol):
    """The records of a series in one window."""

    def take(self, value: Any, weight: float, is_change: bool) -> None:
        """Add a value, or the member of a set, that stands for `weight` of them. `is_change`: of a gauge."""

    def result(self, length_s: float, before: float | None, ranks: Sequence[tuple[str, float]]) -> Record:
        """The fields of the result; `before` is the value of a gauge before the window."""

    def dump(self) -> Any:
        """The state as values of MessagePack."""


class SumCell:
    """The sum of a counter or meter."""

    __slots__ = ("count", "sum")

    def __init__(self) -> None:
        self.count = 0.0
        self.sum: Sum = (0.0, 0.0)

    def take(self, value: float, weight: float, is_change: bool) -> None:
        del is_change
        self.count += weight
        self.sum = add(self.sum, value * weight)

    def result(self, length_s: float, before: float | None, ranks: Sequence[tuple[str, float]]) -> Record:
        del before, ranks
        total = sum(self.sum)
        return {
            "value": stored_number(total),
            "count": stored_number(self.count),
            "rate": stored_number(total / length_s),
        }

    def dump(self) -> Any:
        return [self.count, *self.sum]

    @classmethod
    def load(cls, stored: Any) -> "SumCell":
        """The cell of what `dump` returned."""
        self = cls()
        count, total, correction = stored
        self.count, self.sum = count + 0.0, (total + 0.0, correction + 0.0)
        return self


class GaugeCell:
    """The value of a gauge, or how it has changed."""

    __slots__ = ("change", "count", "value")

    def __init__(self) -> None:
        self.count = 0
        self.value: float | None = None
        """The last value that was sent."""
        self.change = 0.0
        """The sum of the changes after it."""

    def take(self, value: float, weight: float, is_change: bool) -> None:
        del weight
        self.count += 1
        if is_change:
            self.change += value
        else:
            self.value, self.change = value, 0.0

    def after(self, before: float | None) -> float:
        """The value after the window; a gauge begins at 0."""
        value = self.value if self.value is not None else before
        return (value or 0.0) + self.change

    def result(self, length_s: float, before: float | None, ranks: Sequence[tuple[str, float]]) -> Record:
        del length_s, ranks
        return {"value": stored_number(self.after(before)), "count": self.count}

    def dump(self) -> Any:
        return [self.count, self.value, self.change]

    @classmethod
    def load(cls, stored: Any) -> "GaugeCell":
        """The cell of what `dump` returned."""
        self = cls()
        self.count, self.value, self.change = stored
        self.count += 0
        self.change += 0.0
        return self


class SetCell:
    """The members of a set."""

    __slots__ = ("count", "members")

    def __init__(self) -> None:
        self.count = 0.0
        self.members = Members()

    def take(self, value: str, weight: float, is_change: bool) -> None:
        del is_change
        self.count += weight
        self.members.add(value)

    def result(self, length_s: float, before: float | None, ranks: Sequence[tuple[str, float]]) -> Record:
        del length_s, before, ranks
        return {"value": self.members.count, "count": stored_number(self.count)}

    def dump(self) -> Any:
        return [self.count, self.members.dump()]

    @classmethod
    def load(cls, stored: Any) -> "SetCell":
        """The cell of what `dump` returned."""
        self = cls()
        count, members = stored
        self.count, self.members = count + 0.0, Members.load(members)
        return self


class SampleCell:
    """The values of a timer, histogram or distribution."""

    __slots__ = ("samples",)

    def __init__(self) -> None:
        self.samples = Samples()

    def take(self, value: float, weight: float, is_change: bool) -> None:
        del is_change
        self.samples.add(value, weight)

    def result(self, length_s: float, before: float | None, ranks: Sequence[tuple[str, float]]) -> Record:
        del before
        samples = self.samples
        found = samples.percentiles([rank for _, rank in ranks])
        return {
            "count": stored_number(samples.count),
            "rate": stored_number(samples.count / length_s),
            "sum": stored_number(samples.total),
            "mean": samples.mean,
            "min": samples.least,
            "max": samples.greatest,
            "stddev": samples.deviation,
            **dict(zip([name for name, _ in ranks], found, strict=True)),
        }

    def dump(self) -> Any:
        return self.samples.dump()

    @classmethod
    def load(cls, stored: Any) -> "SampleCell":
        """The cell of what `dump` returned."""
        self = cls()
        self.samples = Samples.load(stored)
        return self


CELLS: dict[str, type[SumCell | GaugeCell | SetCell | SampleCell]] = {
    **dict.fromkeys(("counter", "meter"), SumCell),
    GAUGE: GaugeCell,
    SET: SetCell,
    **dict.fromkeys(("timer", "histogram", "distribution"), SampleCell),
}
"""The cell of each type of a series."""
