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
    """The method, if it is not obvious, and secondary figures."""
    baseline: float | None = None
    baseline_what: str = ""
    goal: str = ""
    reached: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)
    """All measurements behind the figure, for the JSON file."""

    @property
    def ratio(self) -> float | None:
        """The figure as a multiple of its baseline, both of the same run."""
        return self.value / self.baseline if self.baseline else None


class BenchError(Exception):
    """A measurement is invalid: records are missing, books do not balance, or a process failed."""


class SkippedError(Exception):
    """A scenario needs a package that is not installed. The text names it."""
