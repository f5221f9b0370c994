"""Forecasts of one series: when an interval ends, its predictions are scored and new ones are made."""

from array import array
from collections.abc import Sequence
from math import isnan, nan
from typing import Any, NamedTuple

from streamd.forecasts.holt_winters import HoltWinters, HoltWintersModel
from streamd.forecasts.horizon import Horizon, Outlook


class Prediction(NamedTuple):
    """What is predicted for an interval, and its value once it is known."""

    interval: int
    """The number of the interval."""
    ahead: int
    """How many intervals before its end the prediction was made."""
    predicted: Outlook
    actual: float
    """The value; NaN while it is unknown."""


class Series:
    """What is known of one key."""

    __slots__ = ("count", "horizons", "index", "last", "model", "newest_us", "others", "total", "unverified")

    def __init__(self, model: HoltWintersModel, horizons: list[Horizon], buckets: int) -> None:
        self.index = 0
        """The number of the interval of the last record."""
        self.total = 0.0
        """The sum and the number of the values in it."""
        self.count = 0
        self.others: dict[int, list[float]] = {}
        """Sum and number of the values in other intervals that have not ended."""
        self.newest_us = -(1 << 62)
        """The latest time of a record."""
        self.model = model
        self.horizons = horizons
        self.last = array("d", [nan] * buckets)
        """The last value of each bucket of the season, or of the series."""
        self.unverified = 0
        """Predictions for intervals without a value, since this was set to 0."""


class Forecaster:
    """Puts values into intervals, and makes predictions when these end. Each key has a `Series`.

    An interval ends when a record of the key comes whose time is at least its end plus `delay_us`; then a
    value for it is late.
    """

    def __init__(
        self,
        method: HoltWinters,
        every_us: int,
        delay_us: int,
        horizons: Sequence[int],
        level: float,
        errors: int,
        buckets: int,
    ) -> None:
        """`horizons` are in intervals. Their bands have to include the share `level` of the values, as far as
        the last `errors` errors tell. `buckets` are those of the season, or 1.
        """
        self._method = method
        self._every_us, self._delay_us = every_us, delay_us
        self._horizons, self._level = horizons, level
        self._errors, self._buckets = errors, buckets

    def new(self) -> Series:
        """A series without values."""
        horizons = [Horizon(ahead, self._errors) for ahead in self._horizons]
        return Series(self._method.new(), horizons, self._buckets)

    def see(self, series: Series, moment_us: int, value: float) -> list[Prediction] | None:
        """Add the value of a record, after the intervals have ended that it ends; None if it is late.

        Returns the predictions whose value is known now, and the new ones, in order.
        """
        index = moment_us // self._every_us
        if index == series.index and series.count and not series.others:
            series.total += value
            series.count += 1
            series.newest_us = max(series.newest_us, moment_us)
            return []
        ended_us = max(series.newest_us, moment_us) - self._delay_us
        if (index + 1) * self._every_us <= ended_us:
            return None
        others = series.others
        if index != series.index or not series.count:
            if series.count:
                others[series.index] = [series.total, series.count]
            series.total, series.count = others.pop(index, [0.0, 0])  # type: ignore[assignment]  # a whole number
            series.index = index
        series.total += value
        series.count += 1
        series.newest_us = max(series.newest_us, moment_us)
        made: list[Prediction] = []
        for other in sorted(others):
            if (other + 1) * self._every_us > ended_us:
                break
            total, count = others.pop(other)
            self._end(series, other, total / count, made)
        return made

    def _end(self, series: Series, index: int, value: float, made: list[Prediction]) -> None:
        """End an interval: score the predictions for it, learn its value, and predict later ones."""
        method, model = self._method, series.model
        before = model.index
        for horizon in series.horizons:
            if not isnan(model.level):
                series.unverified += horizon.skip(before, index)
            predicted = horizon.take(index)
            if not isnan(predicted.value):
                made.append(Prediction(index, horizon.ahead, predicted, value))
                horizon.note(index, abs(value - predicted.value))
        method.learn(model, index, value)
        series.last[method.bucket(index)] = value
        for horizon in series.horizons:
            target = index + horizon.ahead
            predicted = Outlook(
                method.predict(model, horizon.ahead),
                horizon.reach(self._level),
                series.last[method.bucket(target)],
            )
            horizon.put(target, predicted)
            if not isnan(predicted.value):
                made.append(Prediction(target, horizon.ahead, predicted, nan))

    def stored(self, series: Series) -> Any:
        """The series for a snapshot, as MessagePack knows it."""
        return (
            series.index, series.total, series.count, list(series.others.items()), series.newest_us,
            series.unverified, self._method.stored(series.model), list(series.last),
            [horizon.stored() for horizon in series.horizons],
        )  # fmt: skip

    def of_stored(self, stored: Any) -> Series:
        """The series of a snapshot. Raises `ValueError` or `TypeError` if it is none of such a series."""
        series = self.new()
        (
            series.index, series.total, series.count, others, series.newest_us, series.unverified,
            model, last, horizons,
        ) = stored  # fmt: skip
        series.others = dict(others)
        series.model = self._method.of_stored(model)
        if len(last) != self._buckets or len(horizons) != len(series.horizons):
            raise ValueError("the state is of another season or other horizons")
        series.last = array("d", last)
        for horizon, its in zip(series.horizons, horizons, strict=True):
            horizon.restore(its)
        return series
