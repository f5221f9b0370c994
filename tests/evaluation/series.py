"""A labelled series, and its two halves."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.evaluation.events import Outcome, judge


@dataclass(frozen=True)
class Series:
    """Records in the order of their arrival, each with a label. `at` is the time in seconds since 1970."""

    name: str
    records: list[dict[str, Any]]
    labels: list[bool]
    fields: tuple[str, ...]
    step_s: float
    """Seconds between two records of a key."""
    has_time: bool
    """False if the source does not say how far apart its records are: then `step_s` is an assumption."""
    span: int
    """Records that one false alarm lasts for at most."""
    key: str | None = None
    season: dict[str, Any] | None = None
    """Options of the method `seasonal`: what a user would know of the data. None: there is no season."""
    kinds: list[str] = field(default_factory=list)
    """What kind of event each record belongs to, or an empty text; no kinds at all if they are unknown."""

    @cached_property
    def keys(self) -> list[Any]:
        """The key of each record."""
        return [None if self.key is None else record[self.key] for record in self.records]

    @cached_property
    def half(self) -> int:
        """The first record of the second half. No event is running there: none is in both halves."""
        running: set[Any] = set()
        for place, (key, label) in enumerate(zip(self.keys, self.labels, strict=True)):
            if place >= len(self.records) // 2 and not running:
                return place
            running.discard(key)
            if label:
                running.add(key)
        raise ValueError(f"{self.name}: an event is running up to the end")

    def judge(self, flags: Sequence[bool], part: range) -> Outcome:
        """Hold the flags of the records in `part` against their labels, each key by itself."""
        by_key: dict[Any, list[int]] = defaultdict(list)
        for place in part:
            by_key[self.keys[place]].append(place)
        outcomes = [
            judge([self.labels[place] for place in places], [flags[place] for place in places], self.span)
            for places in by_key.values()
        ]
        return sum(outcomes, Outcome())

    @property
    def first_half(self) -> range:
        return range(self.half)

    @property
    def second_half(self) -> range:
        return range(self.half, len(self.records))
