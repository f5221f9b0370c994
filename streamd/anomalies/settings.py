"""The options of the step `anomaly`."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from streamd.anomalies.limits import Learn
from streamd.anomalies.persistence import PersistenceText
from streamd.core.field_names import FieldName, FieldNames, NewFieldName
from streamd.core.record_key import KeyTexts
from streamd.core.settings import DurationS, Settings

OutlierMethod = Literal["half_space_trees", "loda"]
Method = Literal["ewma", "hampel", "quantile", "seasonal", "half_space_trees", "loda"]
_OF_ROWS: tuple[Method, ...] = ("half_space_trees", "loda")
"""The methods for several fields, with one model for the pipeline."""
_OF_VALUES: tuple[Method, ...] = ("ewma", "hampel", "quantile", "seasonal")
_ONLY: Mapping[str, tuple[Method, ...]] = {
    "field": _OF_VALUES,
    "fields": _OF_ROWS,
    "key": _OF_VALUES,
    "min_width": _OF_VALUES,
    "quantile": _OF_ROWS,
    "params": _OF_ROWS,
    "half_life": ("ewma", "seasonal"),
    "window": ("hampel", "quantile", "half_space_trees"),
    "quantiles": ("quantile",),
    "season": ("seasonal",),
    "buckets": ("seasonal",),
    "seasons_half_life": ("seasonal",),
    "time": ("seasonal",),
    "max_future": ("seasonal",),
}
"""The methods that an option belongs to; the others belong to all."""
THRESHOLD: Mapping[Method, float] = {"ewma": 4.0, "hampel": 4.0, "quantile": 1.5, "seasonal": 4.0}
_MEDIAN = 0.5
WINDOW: Mapping[Method, int] = {"hampel": 31, "quantile": 200, "half_space_trees": 250}
QUANTILE = 0.995
DEFAULT_MAX_FUTURE_S = 300.0
_PARAMS: Mapping[OutlierMethod, Mapping[str, tuple[int, int]]] = {
    "half_space_trees": {"n_trees": (1, 1000), "height": (1, 15), "seed": (0, 2**32)},
    "loda": {"n_bins": (2, 1000), "n_random_cuts": (1, 1000), "seed": (0, 2**32)},
}
"""The params of the class with their limits."""


def _params_fault(method: OutlierMethod, params: Mapping[str, int]) -> str:
    """What is wrong with the params; empty if nothing is."""
    known = _PARAMS[method]
    for name, value in params.items():
        if name not in known:
            return f"{method} has no param {name!r}: it has {', '.join(known)}"
        low, high = known[name]
        if not low <= value <= high:
            return f"{name} of {method} is a number from {low} to {high}"
    return ""


class AnomalySettings(Settings):
    """The value, the method and when a value is unusual."""

    field: FieldName | None = Field(
        None, description="the field with the value. Every method needs it except those of `fields`"
    )
    fields: FieldNames | None = Field(
        None, description="half_space_trees, loda: the fields whose combination may be unusual"
    )
    key: KeyTexts = Field(
        [],
        description="expressions, mostly names of fields: each combination of their values has a model of"
        " its own. Default: one model",
    )
    method: Method = Field("ewma", description="how the usual value and its scale are found")
    threshold: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="the band reaches this many scales from the expected value. Default: 4, for quantile"
        " 1.5. half_space_trees, loda: a record with this score is unusual. Default: see `quantile`",
    )
    min_width: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="the band reaches at least this far from the expected value, in the unit of the value",
    )
    min_samples: int | None = Field(
        None,
        ge=2,
        le=1_000_000,
        description="values of a key before it is scored. Default: 30, or `window` if less;"
        " half_space_trees, loda: 500 records",
    )
    for_: PersistenceText | None = Field(
        None,
        alias="for",
        description='like "3 of 5": a value is an anomaly if it is outside the band, and so are 3 of the'
        " last 5, itself included. Default: each value outside the band is one",
    )
    learn: Learn = Field(
        "clipped",
        description="what the model learns of a value outside the band: clipped (the nearer end of the"
        " band; half_space_trees, loda: the record), all (the value) or inside (nothing)",
    )
    half_life: float | None = Field(
        None,
        ge=1,
        le=1e9,
        description="ewma, seasonal: a value weighs half as much after so many more. Default: 50",
    )
    window: int | None = Field(
        None,
        ge=5,
        le=10_000,
        description="hampel, quantile: how many of the last values count. Default: 31; quantile: 200."
        " half_space_trees: the trees compare with the window of records before. Default: 250",
    )
    quantiles: tuple[float, float] | None = Field(
        None,
        description="quantile: which shares of the values are below the ends of the band, if `threshold`"
        " is 1. Default: [0.01, 0.99]",
    )
    quantile: float | None = Field(
        None,
        ge=0.5,
        le=0.999,
        description="half_space_trees, loda: a record is unusual if its score is higher than this share"
        " of the last 1000 scores. Default: 0.995, or no quantile with `threshold`",
    )
    params: dict[str, int] | None = Field(
        None,
        description="half_space_trees: n_trees (10), height (8) and seed (1); loda: n_bins (10),"
        " n_random_cuts (100) and seed (1)",
    )
    season: DurationS | None = Field(
        None,
        gt=0,
        description="seasonal: length of the season, which begins at 1970-01-01T00:00:00Z: 1d or 1w",
    )
    buckets: int | None = Field(
        None,
        ge=2,
        le=10_000,
        description="seasonal: into how many parts a season is divided. Default: 24",
    )
    seasons_half_life: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="seasonal: a season weighs half as much after so many more. Default: 3",
    )
    time: FieldName | None = Field(
        None,
        description="seasonal: field with the time of the record: RFC 3339, ISO 8601 or seconds since"
        " 1970. Default: the time of receipt",
    )
    max_future: DurationS | None = Field(
        None,
        description="seasonal, with `time`: a record whose time is later than its receipt by more has no"
        " score and is not learned. Default: 5m",
    )
    name: NewFieldName = Field(
        "anomaly",
        description="the name of the flag; the other fields are NAME_score, NAME_low and NAME_high",
    )
    max_keys: int = Field(100_000, ge=1, le=10_000_000, description="most keys that have a model")
    forget_after: DurationS = Field(
        "7d",  # type: ignore[assignment]  # parsed by the validator
        gt=0,
        description="a key without records for this time, at most twice of it, is forgotten",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for option, methods in _ONLY.items():
            if getattr(self, option) not in (None, [], 0.0) and self.method not in methods:
                raise ValueError(f"{option!r} belongs to {_listed(methods)}, not to {self.method}")
        of_rows = self.method in _OF_ROWS
        if (self.fields if of_rows else self.field) is None:
            raise ValueError(
                f'{self.method} needs the fields of a record, like fields = ["a", "b"]'
                if of_rows
                else f'{self.method} needs a field with the value: field = "value"'
            )
        if self.quantile is not None and self.threshold is not None:
            raise ValueError("a record is unusual by its score (threshold) or by its quantile, not by both")
        if self.method in ("half_space_trees", "loda") and (
            fault := _params_fault(self.method, self.params or {})
        ):
            raise ValueError(fault)
        if self.max_future is not None and self.time is None:
            raise ValueError("max_future belongs to time")
        if self.method == "seasonal" and self.season is None:
            raise ValueError('seasonal needs a season, like season = "1d"')
        if self.quantiles is not None and not 0 <= self.quantiles[0] < _MEDIAN < self.quantiles[1] <= 1:
            raise ValueError("quantiles are two shares, one below and one above 0.5, like [0.01, 0.99]")
        window = self.window or WINDOW.get(self.method)
        if not of_rows and window is not None and (self.min_samples or 0) > window:
            raise ValueError(f"min_samples is at most the window, {window}")
        return self


def _listed(words: tuple[str, ...]) -> str:
    """`a`, `a and b` or `a, b and c`."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
