"""The contract of detectors."""

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from streamd.anomalies.limits import Limits, Scored


class Model:
    """What is known of one key."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = 0
        """Which of the last values were unusual, as bits; the newest is the lowest."""


M = TypeVar("M", bound=Model)


class Detector(ABC, Generic[M]):
    """Scores values and learns them. It has the options; each key has a model of its own."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    @abstractmethod
    def new(self) -> M:
        """A model that has learned nothing."""

    @abstractmethod
    def see(self, model: M, value: float, at_s: float) -> Scored | None:
        """Score the value by what the model has learned of earlier ones, then learn it.

        None while the model has too few values, or if they are equal. `value` is at most `MOST` in size, and
        `at_s` its time (seconds since 1970).
        """

    @abstractmethod
    def stored(self, model: M) -> Any:
        """The model for a snapshot, as MessagePack knows it."""

    @abstractmethod
    def of_stored(self, stored: Any) -> M:
        """The model of a snapshot. Raises `ValueError` or `TypeError` if it is none of this detector."""
