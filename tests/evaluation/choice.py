"""Chooses among options by the first half of a series. The second half is not looked at.

If the first half has events: the highest F1; of equal ones the fewest false alarms, then the widest band. If
it has none: the fewest false alarms; of equal ones the narrowest band. Of those that are still equal, the
first one: the shortest `for`, then the default memory.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Option = TypeVar("Option")


class Judged(Protocol):
    """What the rule looks at."""

    @property
    def events(self) -> int: ...

    @property
    def f1(self) -> float: ...

    @property
    def false_alarms(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Candidate(Generic[Option]):
    """Options, and how wide their band is among the others: 0 is the narrowest."""

    options: Option
    width: int = 0


def best(candidates: Iterable[Candidate[Option]], outcome: Callable[[Option], Judged]) -> Option:
    """The options with the best outcome by the rule."""
    tried = [(candidate, outcome(candidate.options)) for candidate in candidates]
    has_events = any(found.events for _, found in tried)

    def place(one: tuple[Candidate[Option], Judged]) -> tuple[Any, ...]:
        candidate, found = one
        if has_events:
            return -found.f1, found.false_alarms, -candidate.width
        return found.false_alarms, candidate.width

    return min(tried, key=place)[0].options
