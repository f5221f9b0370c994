from collections.abc import Callable, Iterator, Mapping
from math import isnan
from typing import Any, ClassVar, Literal

import msgspec

from streamd.core.arrival_clock import ArrivalClock
from streamd.core.batch import METADATA_KEYS, Record
from streamd.core.contracts import Processed, Step, StepContext
from streamd.core.errors import ConfigError
from streamd.core.field_names import refuse_unknown
from streamd.core.finite import finite
from streamd.core.generations import Generations
from streamd.core.keyed import keyed
from streamd.core.now import Now
from streamd.core.record_key import Key, RecordKey, same_key
from streamd.core.state_parts import parts_of
from streamd.forecasts.forecaster import Prediction, Series
from streamd.forecasts.options import ForecastSettings, new_forecaster
from streamd.windows.moments import NEVER, US, moments_of, text_of

KIND = "forecast"
"""The field that tells predictions from scores."""
_PREDICTION = (KIND, "made_at", "target", "horizon_s", "predicted", "low", "high")
_SCORE = ("actual", "error", "inside_band", "naive_error")
_State = tuple[Literal["forecast"], float, float | None, dict[Any, Any], dict[Any, Any]]
"""The wall clock, the age of the newer generation, and the series of both generations."""


class Forecast(Step["Forecast.Config"]):
    """Predicts the values of each key, with a band, and scores each prediction when its value is known.

    Time is divided into intervals of the length `every`; the mean of the values in one is its value. An
    interval of a key ends when a record of that key comes whose time is at or after its end (plus
    `watermark_delay`). Then the step makes, before that record:

    - for each earlier prediction of the interval a record with `forecast = "score"`, `actual` (its value),
      `error` (actual minus predicted), `inside_band`, and `naive_error`, which is the error of repeating the
      last value (with a season: the last one of the same bucket);
    - for each horizon a record with `forecast = "prediction"`. It predicts the interval that ends at
      `target`, which is `horizon_s` after `made_at`, the end of the ended one.

    Both have the key fields, `made_at`, `target`, `horizon_s`, `predicted`, `low` and `high`. All other
    records pass as they are.

    The forecast is a level, a damped trend and, with `season`, a profile (Holt and Winters). The first season
    is only learned. An interval without a value is skipped: the trend is damped once more, and predictions
    for it are not scored. The band includes as many of the last `errors` values as `level` says, measured by
    the errors of the step itself at that horizon; it is null before there are enough (19 for 0.95).

    A record whose interval has ended is not learned; nor is one without a finite number or a usable time. If
    there are `max_keys` keys, records of further keys are not learned. All pass and are counted. A key
    without records for `forget_after` to twice that time is forgotten.

    A record costs about 0.9 µs; the end of an interval about 10 µs for each horizon. A key with one horizon
    takes about 2.8 KB.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "predictions": "predictions that were made",
        "inside": "values that were inside the band of their prediction",
        "outside": "values that were outside the band of their prediction",
        "better": "predictions whose error was smaller than that of repeating the last value",
        "unverified": "predictions for intervals that had no value",
        "out_of_order": "records that passed unlearned because later ones of their key were there",
        "unlearned": "records without a finite number, a usable time or a free key: they passed unlearned",
        "forgotten": "keys whose state was forgotten because of max_keys or a long silence",
    }

    class Config(ForecastSettings):
        """The value, the intervals, and what is predicted."""

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        refuse_unknown([config.field], context.fields, "field")
        refuse_unknown([config.time] if config.time else [], context.fields, "time")
        self._key = RecordKey(config.key, context.fields, exact=True)
        for name in self._key.names:
            if name in (*_PREDICTION, *_SCORE):
                raise ConfigError(f"{name!r} is a field of the records of forecasts", ("key",))
        self._key_of: Callable[[Record], Key] = self._key.of if config.key else same_key
        self._forecaster = new_forecaster(config)
        self._every_us, self._max_future_us = config.every_us, round(config.max_future * US)
        self._clock = ArrivalClock()
        self._series = Generations[Series](config.max_keys, config.forget_after)

    def process(self, records: list[Record], now: Now) -> Processed:
        at_s = self._clock.read(now)
        if dropped := self._series.turn(at_s):
            self.context.counters.add("forgotten", len(dropped))
        newer, see, field = self._series.newer, self._forecaster.see, self.config.field
        unlearned = out_of_order = 0
        done = Processed([])
        keep = done.records.append
        keys, records = keyed(self._key_of, records, done)
        moments = moments_of(records, self.config.time, self._max_future_us, now.wall_s)
        for key, record, at_us in zip(keys, records, moments, strict=True):
            number = finite(record.get(field))
            series = newer.get(key) or self._series.bring(key, self._forecaster.new)
            if series is None or isnan(number) or at_us == NEVER:
                unlearned += 1
            elif (made := see(series, at_us, number)) is None:
                out_of_order += 1
            elif made:
                self._tell(key, series, made, record, done)
            keep(record)
        self._series.put(at_s)
        for counter, count in (("out_of_order", out_of_order), ("unlearned", unlearned)):
            if count:
                self.context.counters.add(counter, count)
        return done

    def _tell(
        self, key: Key, series: Series, made: list[Prediction], record: Record, done: Processed
    ) -> None:
        """Make records of predictions and scores, and count them. `record` has ended an interval."""
        keys = {name: record.get(name) for name in METADATA_KEYS}
        if self.config.key:
            keys |= self._key.values(key)
        count = self.context.counters.add
        for one in made:
            values = self._prediction(one)
            if isnan(one.actual):
                count("predictions")
            else:
                values |= _score(one)
                if values["inside_band"] is not None:
                    count("inside" if values["inside_band"] else "outside")
                if abs(values["error"]) < abs(one.actual - one.predicted.naive):
                    count("better")
            done.records.append(keys | values)
        done.emitted += len(made)
        if series.unverified:
            count("unverified", series.unverified)
            series.unverified = 0

    def _prediction(self, one: Prediction) -> Record:
        target_us = (one.interval + 1) * self._every_us
        value, reach, _ = one.predicted
        horizon_us = one.ahead * self._every_us
        low, high = (None, None) if isnan(reach) else (value - reach, value + reach)
        kind = "prediction" if isnan(one.actual) else "score"
        made_at = text_of(target_us - horizon_us)
        values = (kind, made_at, text_of(target_us), horizon_us / US, value, low, high)
        return dict(zip(_PREDICTION, values, strict=True))

    def snapshot_parts(self) -> Iterator[bytes]:
        if self._series:
            series = self._series.stored(self._clock.at_s, self._forecaster.stored)
            yield from parts_of(("forecast", self._clock.wall_s, *series))

    def restore(self, state: bytes, now: Now) -> None:
        _, wall_s, age_s, newer, older = msgspec.msgpack.decode(state, type=_State)
        self._clock.restore(wall_s, now)
        self._series.restore(age_s, newer, older, self._forecaster.of_stored)

    def fields_after(self) -> frozenset[str] | None:
        known = self.context.fields
        return None if known is None else known | {*self._key.names, *_PREDICTION, *_SCORE}


def _score(one: Prediction) -> Record:
    value, reach, naive = one.predicted
    error = one.actual - value
    inside = None if isnan(reach) else abs(error) <= reach
    values = (one.actual, error, inside, None if isnan(naive) else one.actual - naive)
    return dict(zip(_SCORE, values, strict=True))
