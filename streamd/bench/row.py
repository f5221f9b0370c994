"""One line of the benchmark's table."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class Row:
    """A figure, its baseline and its goal. `reached` is None if there is no goal, or none is judged."""

    name: str
    what: str
    value: float
    unit: str
    note: str = ""
    """How it was measured, where that is not plain, and figures of the second rank."""
    baseline: float | None = None
    baseline_what: str = ""
    goal: str = ""
    reached: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)
    """Everything measured for it, for the JSON file."""

    @property
    def ratio(self) -> float | None:
        """The figure as a multiple of its baseline, both of the same run."""
        return self.value / self.baseline if self.baseline else None


class BenchError(Exception):
    """What was measured is not what was meant: missing records, books that do not hold."""
