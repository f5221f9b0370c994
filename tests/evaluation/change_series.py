"""Series in which several people have marked changes of the level: those of river's `drift.datasets`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

WITHIN = 25
"""Records after a point in which a report finds it."""


@dataclass(frozen=True)
class ChangeSeries:
    """The values in order, and the places that each person has marked."""

    name: str
    values: list[float]
    marked: Mapping[str, list[int]]

    @cached_property
    def half(self) -> int:
        """The first record of the second half. No point of the first half may still be found there.

        A series whose points are that close to each other up to its end has no second half.
        """
        points = {point for places in self.marked.values() for point in places}
        half = len(self.values) // 2
        while half < len(self.values) and any(half - WITHIN <= point < half for point in points):
            half += 1
        return half

    @property
    def first_half(self) -> range:
        return range(self.half)

    @property
    def second_half(self) -> range:
        return range(self.half, len(self.values))


def change_series() -> Iterator[ChangeSeries]:
    """Six of the seven series, with the first field of each. Of the coal mines there are only 105 records.

    The places are numbered in the sampled series, of which river has all records: of Apple every third one,
    and of Brent every tenth one since 2000.
    """
    from river.drift import datasets  # noqa: PLC0415 - it takes a second

    for name, kind in (
        ("Airline passengers", datasets.AirlinePassengers), ("Apple", datasets.Apple),
        ("Bitcoin", datasets.Bitcoin), ("Brent", datasets.BrentSpotPrice),
        ("Occupancy", datasets.Occupancy), ("Run", datasets.RunLog),
    ):  # fmt: skip
        given = kind()
        rows = [(x, _first(y)) for x, y in given]
        if name == "Apple":
            rows = rows[::3]
        elif name == "Brent":
            rows = [row for row in rows if row[0]["day"].year >= 2000][::10]
        yield ChangeSeries(name, [value for _, value in rows], given.annotations)


def _first(target: Any) -> float:
    """Of the target, which is a value or a dict of them."""
    return float(next(iter(target.values())) if isinstance(target, dict) else target)
