"""The contract of detectors."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from streamd.anomalies.limits import Limits


class KeyModel:
    """What is known of one key."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = 0
        """Which of the last values were unusual, as bits; the newest is the lowest."""


M = TypeVar("M", bound=KeyModel)


@dataclass(slots=True)
class Scores:
    """The flags, scores and bands of some values, each in a list with None for a value without a score."""

    flags: list[bool | None]
    scores: list[float | None]
    lows: list[float | None]
    highs: list[float | None]
    unusable: int = 0
    """Values that are not finite, or have no model."""
    flat: int = 0
    """Values of which the model knows enough, but no scale: the usual values are equal."""

    @classmethod
    def none(cls, count: int) -> Self:
        """Of so many values without a score."""
        return cls([None] * count, [None] * count, [None] * count, [None] * count)


class Detector(ABC, Generic[M]):
    """Scores values and learns them. It has the options; each key has a model of its own."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    @abstractmethod
    def new(self) -> M:
        """A model that has learned nothing."""

    @abstractmethod
    def see_all(self, models: Sequence[M | None], values: Sequence[float], times: Iterable[float]) -> Scores:
        """Score each value by what its model has learned of earlier ones, then learn it.

        `times` are seconds since 1970. A value has no score while its model has too few values, or if they
        are equal; and if it is NaN, larger than `MOST` or has no model, it is not learned either.
        """

    @abstractmethod
    def stored(self, model: M) -> Any:
        """The model for a snapshot, as MessagePack knows it."""

    @abstractmethod
    def of_stored(self, stored: Any) -> M:
        """The model of a snapshot. Raises `ValueError` or `TypeError` if it is none of this detector."""
