"""The options of forecasts, and what they describe."""

from math import ceil
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from streamd.core.field_names import FieldName
from streamd.core.record_key import KeyTexts
from streamd.core.settings import DurationS, Settings
from streamd.forecasts.forecaster import Forecaster
from streamd.forecasts.holt_winters import HoltWinters, Season
from streamd.windows.moments import US
from streamd.windows.options import LONGEST_S

MOST_BUCKETS = 288
"""Most buckets of a season if their number is not given."""
MOST_AHEAD = 10_000
"""Most predictions of a key that wait for their value, which is the sum of its horizons in intervals."""
MOST_OPEN = 1000
"""Most intervals of a key that wait for late records."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Durations = Annotated[
    list[DurationS], BeforeValidator(_as_list, json_schema_input_type=str | list[str]), Field(min_length=1)
]
"""A duration, or a list of several."""


class ForecastSettings(Settings):
    """The value, the intervals, and what is predicted."""

    field: FieldName = Field(description="the field with the value")
    key: KeyTexts = Field(
        [],
        description="expressions, mostly names of fields: each combination of their values is forecast"
        " by itself. Default: one forecast",
    )
    every: DurationS = Field(
        gt=0, description="length of an interval, whose mean is one value. Intervals are aligned to 1970"
    )
    horizon: Durations | None = Field(
        None,
        description='how far ahead: a duration, or several, like ["10m", "1h"]; multiples of `every`.'
        " Default: `every`",
    )
    season: DurationS | None = Field(
        None,
        gt=0,
        description="length of the season, which begins at 1970-01-01T00:00:00Z: 1d or 1w. Default: none",
    )
    buckets: int | None = Field(
        None,
        ge=2,
        le=10_000,
        description="into how many parts a season is divided; each is a multiple of `every`. Default: as"
        " many as there are intervals, and at most 288",
    )
    half_life: float = Field(
        2.0, ge=0.1, le=1e9, description="level: a value weighs half as much after so many intervals"
    )
    trend_half_life: float = Field(
        50.0,
        ge=0.1,
        le=1e9,
        description="trend: a change of the level weighs half as much after so many intervals",
    )
    damping: float = Field(
        0.95,
        ge=0,
        le=1,
        description="what remains of the trend in the next interval: 1 is a straight line, 0 no trend",
    )
    seasons_half_life: float = Field(
        3.0, gt=0, le=1000, description="season: one weighs half as much after so many more"
    )
    level: float = Field(
        0.95, ge=0.5, le=0.999, description="the share of values that the band has to include"
    )
    errors: int = Field(
        100,
        ge=10,
        le=10_000,
        description="how many of the last errors the band is measured by, for each horizon",
    )
    time: FieldName | None = Field(
        None,
        description="field with the time of the record: RFC 3339, ISO 8601 or seconds since 1970."
        " Default: the time of receipt",
    )
    watermark_delay: DurationS = Field(
        "0s",  # type: ignore[assignment]  # parsed by the validator
        description="how long an interval waits for records with an earlier time than the last one",
    )
    max_future: DurationS = Field(
        "5m",  # type: ignore[assignment]  # parsed by the validator
        description="a record whose `time` is later than its receipt by more is not learned. In a file of old"
        " records this refuses no wrong time before today, after which those of its key are out of order",
    )
    max_keys: int = Field(10_000, ge=1, le=10_000_000, description="most keys that are forecast")
    forget_after: DurationS = Field(
        "7d",  # type: ignore[assignment]  # parsed by the validator
        gt=0,
        description="a key without records for this time, at most twice of it, is forgotten",
    )

    @property
    def every_us(self) -> int:
        """The length of an interval."""
        return round(self.every * US)

    @property
    def ahead(self) -> list[int]:
        """The horizons in intervals."""
        return [round(horizon * US) // self.every_us for horizon in self.horizon or [self.every]]

    def seasons(self) -> Season | None:
        """The season in intervals. Raises `ValueError` for one that cannot be divided."""
        if self.season is None:
            return None
        season_us = round(self.season * US)
        intervals, rest = divmod(season_us, self.every_us)
        if rest or intervals < 2:  # noqa: PLR2004 - or there is nothing to repeat
            raise ValueError("season is no multiple of every, or less than twice as long")
        buckets = self.buckets or max(n for n in range(1, MOST_BUCKETS + 1) if intervals % n == 0)
        if intervals % buckets:
            raise ValueError(f"buckets: {intervals} intervals cannot be divided into {buckets} buckets")
        return Season(buckets, intervals // buckets)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("every", "season", "watermark_delay", "max_future"):
            if (getattr(self, name) or 0.0) > LONGEST_S:
                raise ValueError(f"{name}: at most 3660d")
        if self.every_us < 1:
            raise ValueError("every: at least 1us")
        _check_horizons(self)
        if self.watermark_delay > MOST_OPEN * self.every:
            raise ValueError(f"watermark_delay is at most {MOST_OPEN} times every")
        if self.errors < (fewest := _fewest(self.level)):
            raise ValueError(f"errors: a band for the level {self.level} needs at least {fewest}")
        if self.buckets is not None and self.season is None:
            raise ValueError("buckets are parts of a season, and there is none")
        self.seasons()
        return self


def _check_horizons(settings: ForecastSettings) -> None:
    every_s, ahead = settings.every, settings.ahead
    for horizon_s in settings.horizon or []:
        if horizon_s <= 0 or round(horizon_s * US) % settings.every_us:
            raise ValueError(f"horizon: {horizon_s:g} s is no multiple of every, {every_s:g} s")
    if len(set(ahead)) < len(ahead):
        raise ValueError("horizon: one is there twice")
    if max(ahead) * every_s > LONGEST_S:
        raise ValueError("horizon: at most 3660d")
    if sum(ahead) > MOST_AHEAD:
        raise ValueError(f"horizon: at most {MOST_AHEAD} intervals together")


def new_forecaster(settings: ForecastSettings) -> Forecaster:
    """The forecaster with these options."""
    season = settings.seasons()
    method = HoltWinters(
        _weight(settings.half_life),
        _weight(settings.trend_half_life),
        settings.damping,
        season,
        _weight(settings.seasons_half_life),
    )
    return Forecaster(
        method,
        settings.every_us,
        round(settings.watermark_delay * US),
        settings.ahead,
        settings.level,
        settings.errors,
        1 if season is None else season.buckets,
    )


def _weight(half_life: float) -> float:
    """The weight of a new value if one weighs half as much after so many more."""
    return float(1.0 - 0.5 ** (1.0 / half_life))


def _fewest(level: float) -> int:
    """The number of errors that a band needs."""
    return ceil(level / (1.0 - level) - 1e-9)
