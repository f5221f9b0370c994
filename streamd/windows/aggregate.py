"""The contract of an aggregate."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

NUMBERS = frozenset({int, float})
SCALARS = frozenset({str, int, float, bool})


class Aggregate(ABC):
    """Computes one value of the rows of a window.

    `fold` adds rows in chunks of a fixed number, so that C functions run over them, and `merge` combines the
    states of panes. Both return the new state; neither changes a state, unless `copy` is overridden. A state
    consists of values that MessagePack can store, or `dump` and `load` convert it.
    """

    takes: ClassVar[frozenset[type] | None] = NUMBERS
    """The types of values, beside null; None for any. A record with another value is rejected."""
    needs_time: ClassVar[bool] = False
    """Whether `fold` reads the times of the values."""

    def __init__(self, field: str | None) -> None:
        self.field = field

    @abstractmethod
    def empty(self) -> Any:
        """The state without rows."""

    @abstractmethod
    def fold(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """The state with some more rows: their values, none of them null, and their times if needed."""

    @abstractmethod
    def merge(self, one: Any, other: Any) -> Any:
        """The state of the rows of both."""

    @abstractmethod
    def result(self, state: Any) -> Any:
        """The value of the window; None if the rows have none."""

    def copy(self, state: Any) -> Any:
        """A state that `fold` and `merge` may change, for states that they change in place."""
        return state

    def dump(self, state: Any) -> Any:
        """The state as values of MessagePack."""
        return state

    def load(self, stored: Any) -> Any:
        """The state of what `dump` returned. Raises ValueError, TypeError or KeyError."""
        return stored
