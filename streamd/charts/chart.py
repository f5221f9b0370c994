"""A chart: series over one x axis, without a decision how it is shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Form = Literal["lines", "areas", "bars"]
XKind = Literal["number", "time"]

MOST_SERIES = 12
"""More series than this cannot be told apart by their marks."""


@dataclass(frozen=True)
class ChartSeries:
    """Values at the chart's `x`, or for lines at its own. None, NaN and the infinities are gaps."""

    label: str
    values: Sequence[float | None]
    x: Sequence[float] | None = None


@dataclass(frozen=True)
class Limit:
    """A value that a reader compares with the series, such as the bound of a buffer."""

    label: str
    at: float


@dataclass(frozen=True)
class Chart:
    """Series over the positions `x`, or, with the form `bars`, for the texts `categories`.

    `x` is ascending or not; lines connect points in the order of `x`. With `x_kind` "time" it is seconds
    since 1970. `areas` are stacked, so their values must not be below zero. `y_label` names the unit.
    Raises ValueError if the lengths differ or if there are more than `MOST_SERIES` series.
    """

    series: Sequence[ChartSeries]
    x: Sequence[float] = ()
    categories: Sequence[str] = ()
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    form: Form = "lines"
    x_kind: XKind = "number"
    limits: Sequence[Limit] = field(default=())

    def __post_init__(self) -> None:
        length = len(self.categories if self.form == "bars" else self.x)
        if any(len(one.values) != (length if one.x is None else len(one.x)) for one in self.series):
            raise ValueError(f"each series needs {length} values, or as many as its own x")
        if self.form != "lines" and any(one.x is not None for one in self.series):
            raise ValueError("only series of lines have an x of their own")
        if len(self.series) > MOST_SERIES:
            raise ValueError(f"a chart has at most {MOST_SERIES} series")
        if self.form == "areas" and any(value < 0 for one in self.series for value in known(one.values)):
            raise ValueError("stacked values must not be below zero")


def is_known(value: float | None) -> bool:
    """Whether a value can be drawn."""
    return value is not None and math.isfinite(value)


def known(values: Sequence[float | None]) -> list[float]:
    """The values that can be drawn."""
    return [value for value in values if value is not None and math.isfinite(value)]


def stacked(series: Sequence[ChartSeries]) -> list[list[float]]:
    """The upper edge of each area at each position. A gap adds nothing."""
    edges: list[list[float]] = []
    below = [0.0] * (len(series[0].values) if series else 0)
    for one in series:
        below = [
            base + (value if value is not None and math.isfinite(value) else 0.0)
            for base, value in zip(below, one.values, strict=True)
        ]
        edges.append(below)
    return edges


def x_values(chart: Chart) -> list[float]:
    """Every position that the x axis must show."""
    return [*chart.x, *(at for one in chart.series for at in one.x or ())]


def y_values(chart: Chart) -> list[float]:
    """Every value that the y axis must show."""
    limits = [limit.at for limit in chart.limits if math.isfinite(limit.at)]
    if chart.form == "areas":
        edges = stacked(chart.series)
        return [0.0, *limits, *known([value for edge in edges for value in edge])]
    return limits + [value for one in chart.series for value in known(one.values)]
