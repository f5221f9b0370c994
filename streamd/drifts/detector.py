"""The contract of detectors of change points."""

from abc import ABC, abstractmethod
from typing import Any, Generic, NamedTuple, TypeVar

M = TypeVar("M")


class Change(NamedTuple):
    """A change of the level, found with the newest value."""

    before: float
    """The mean of the values since the last change that are before this one."""
    after: float
    """The mean of the values since this change."""
    values_before: int
    values_after: int
    """How many values both means are of."""


class DriftDetector(ABC, Generic[M]):
    """Finds change points. It has the options; each key has a model of its own."""

    @abstractmethod
    def new(self) -> M:
        """A model that has seen nothing."""

    @abstractmethod
    def see(self, model: M, value: float, *, is_share: bool = False) -> Change | None:
        """Take the next value; the change that it reveals, if it reveals one.

        `value` is at most `MOST` of `core.finite` in size. `is_share`: it is a boolean, so the level is the
        share of those that are true.
        """

    @abstractmethod
    def stored(self, model: M) -> Any:
        """The model for a snapshot, as MessagePack knows it."""

    @abstractmethod
    def of_stored(self, stored: Any) -> M:
        """The model of a snapshot. Raises `ValueError` or `TypeError` if it is none of this detector."""
