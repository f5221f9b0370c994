"""How many values of plain noise the methods flag. There is no event in it, so each flag is false."""

import random
from collections.abc import Iterator
from functools import cache

from tests.evaluation.detectors import Options, flags
from tests.evaluation.series import Series

COUNT = 20_000
MEMORIES = {"white": 0.0, "memory 0.9": 0.9, "memory 0.97": 0.97}
"""By name: the part of each value that goes on into the next one. White noise has none."""
ROWS: tuple[Options, ...] = (
    {"method": "ewma"},
    {"method": "hampel"},
    {"method": "hampel", "window": 125},
    {"method": "hampel", "window": 500},
    {"method": "hampel", "threshold": 6},
    {"method": "hampel", "threshold": 8},
    {"method": "hampel", "threshold": 12},
    {"method": "quantile"},
)


@cache
def noise(name: str) -> Series:
    """Normally distributed values, each with a part of the one before it."""
    draw = random.Random(f"noise {name}")  # noqa: S311 - noise is no secret
    value = 0.0
    records = []
    for place in range(COUNT):
        value = MEMORIES[name] * value + draw.gauss(0, 1)
        records.append({"value": value, "at": 1.7e9 + place})
    return Series(name, records, [False] * COUNT, ("value",), 1.0, has_time=False, span=1)


def shares() -> Iterator[tuple[Options, list[float]]]:
    """Of each row: the share of the values that is flagged, by noise."""
    for options in ROWS:
        yield options, [sum(flags(noise(n), {"field": "value", **options}, COUNT)) / COUNT for n in MEMORIES]
