"""A level, a damped trend and a season: the additive method of Holt and Winters."""

from array import array
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

from streamd.anomalies.first_season import FirstSeason


@dataclass(frozen=True, slots=True)
class Season:
    """A season of equal buckets, aligned to 1970."""

    buckets: int
    intervals: int
    """How many intervals a bucket has."""


class HoltWintersModel:
    """What is known of one series after its interval `index`."""

    __slots__ = ("first", "index", "level", "profile", "since", "trend")

    def __init__(self) -> None:
        self.index = 0
        """The number of the last interval with a value."""
        self.since = 0
        """The number of the first one."""
        self.level = nan
        """NaN before the first value."""
        self.trend = 0.0
        """What the level changes by in an interval."""
        self.profile: array[float] | None = None
        """What a bucket adds to the level; NaN if no value of it was seen. None without a season, and in the
        first one."""
        self.first: FirstSeason | None = None


class HoltWinters:
    """Learns the values of intervals, and predicts later ones. It has the options; each key has a model.

    The equations are those of Gardner and McKenzie, "Forecasting trends in time series" (1985), in the form
    of error correction. An interval without a value changes the level by the trend and damps the trend. The
    first season is only learned: its means become level and profile. A bucket without values in it begins
    with its first value.
    """

    def __init__(
        self,
        level_weight: float,
        trend_weight: float,
        damping: float,
        season: Season | None = None,
        season_weight: float = 0.0,
    ) -> None:
        """The weights are those of a new error: of the level, of the trend relative to that, and of the
        profile. `damping` is what remains of the trend in the next interval.
        """
        self._level_weight = level_weight
        self._trend_weight = level_weight * trend_weight
        self._season_weight = season_weight * (1.0 - level_weight)
        self._damping = damping
        self._season = season

    def new(self) -> HoltWintersModel:
        """A model that has learned nothing."""
        return HoltWintersModel()

    def bucket(self, index: int) -> int:
        """The bucket of an interval; 0 without a season."""
        return 0 if self._season is None else index // self._season.intervals % self._season.buckets

    def learn(self, model: HoltWintersModel, index: int, value: float) -> None:
        """Learn the value of an interval. It is a later one than the last."""
        if isnan(model.level):
            model.level, model.index, model.since = value, index, index
            if self._season is not None:
                model.first = FirstSeason(self._season.buckets)
        if self._season is not None and model.first is not None:
            if self._is_first(model, model.first, self._season, index, value):
                return
        elif model.index == index:
            return
        passed = index - model.index
        model.index = index
        trend = model.trend
        model.level += trend * self._reach(passed)
        model.trend = trend = trend * self._damping**passed
        bucket, usual = 0, 0.0
        if model.profile is not None:
            bucket = self.bucket(index)
            usual = model.profile[bucket]
            if isnan(usual):
                model.profile[bucket] = value - model.level
                return
        error = value - model.level - usual
        model.level += self._level_weight * error
        model.trend = trend + self._trend_weight * error
        if model.profile is not None:
            model.profile[bucket] = usual + self._season_weight * error

    def _is_first(
        self, model: HoltWintersModel, first: FirstSeason, season: Season, index: int, value: float
    ) -> bool:
        """Whether the interval is one of the first season. Then its value is added; the last one ends it."""
        last = model.since + season.buckets * season.intervals - 1
        if index <= last:
            first.add(self.bucket(index), value)
            model.index = index
        if index >= last:
            model.level, model.profile = first.level_and_profile()
            model.first = None
        return index <= last

    def predict(self, model: HoltWintersModel, ahead: int) -> float:
        """The value `ahead` intervals after the last one; NaN if it is unknown yet."""
        if model.first is not None:
            return nan
        found = model.level + model.trend * self._reach(ahead)
        return found if model.profile is None else found + model.profile[self.bucket(model.index + ahead)]

    def _reach(self, intervals: int) -> float:
        """How far a trend of 1 goes in some intervals."""
        damping = self._damping
        if damping == 1.0:
            return float(intervals)
        return damping * (1.0 - damping**intervals) / (1.0 - damping)

    def stored(self, model: HoltWintersModel) -> Any:
        """The model for a snapshot, as MessagePack knows it."""
        first = None if model.first is None else model.first.stored()
        profile = None if model.profile is None else list(model.profile)
        return model.index, model.since, model.level, model.trend, profile, first

    def of_stored(self, stored: Any) -> HoltWintersModel:
        """The model of a snapshot. Raises `ValueError` or `TypeError` if it is none of such a series."""
        model = self.new()
        model.index, model.since, model.level, model.trend, profile, first = stored
        buckets = 0 if self._season is None else self._season.buckets
        if profile is not None:
            model.profile = array("d", profile)
            if len(profile) != buckets:
                raise ValueError("the profile has another number of buckets")
        if first is not None:
            model.first = FirstSeason.of_stored(first, buckets)
        return model
