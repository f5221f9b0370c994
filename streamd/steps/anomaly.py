from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from math import nan
from typing import Any, ClassVar, Literal

import msgspec

from streamd.anomalies.detector import Detector, Scores
from streamd.anomalies.ewma import Ewma
from streamd.anomalies.hampel import Hampel
from streamd.anomalies.limits import Limits
from streamd.anomalies.persistence import Persistence
from streamd.anomalies.quantiles import Quantiles
from streamd.anomalies.seasonal import Seasonal
from streamd.anomalies.settings import (
    DEFAULT_MAX_FUTURE_S,
    QUANTILE,
    THRESHOLD,
    WINDOW,
    AnomalySettings,
    Method,
)
from streamd.core.arrival_clock import ArrivalClock
from streamd.core.batch import RECEIVED_AT, Record
from streamd.core.columns import Columns, FlatColumns, RecordColumns
from streamd.core.contracts import Processed, Step, StepContext
from streamd.core.errors import ConfigError
from streamd.core.field_names import refuse_unknown
from streamd.core.finite import finite
from streamd.core.generations import Generations
from streamd.core.keyed import keyed
from streamd.core.now import Now
from streamd.core.record_key import Key, RecordKey, plain_names, same_key
from streamd.core.state_parts import parts_of
from streamd.learning.outliers import Outliers, limits_of
from streamd.windows.moments import NEVER, US, moments_of_columns

_State = tuple[Literal["anomaly"], Method, float, float | None, dict[Any, Any], dict[Any, Any]]
"""The method, the wall clock, the age of the newer generation, and the models of both generations."""


class Anomaly(Step["Anomaly.Config"]):
    """Finds unusual values of each key. All records pass, with four more fields.

    `anomaly` is true if the value is outside the band, and with `for` only if enough of the last values were.
    `anomaly_score` is the distance from the expected value in scales of the method; at an end of the band it
    is `threshold`. `anomaly_low` and `anomaly_high` are the band. All four are null while the model has fewer
    than `min_samples` values, if the usual values are equal and there is no `min_width`, and if the value is
    missing or no finite number (then it is not learned). A value is scored before it is learned.

    - `ewma`: mean and standard deviation, newer values weigh more. For values that spread evenly around a
      level that moves slowly.
    - `hampel`: median and median absolute deviation of the last `window` values. Up to half of them may be
      unusual without an effect.
    - `quantile`: a band between two quantiles of the last `window` values, for skewed values.
    - `seasonal`: the distance from a profile of the day or week. It learns for one season before it scores.
    - `half_space_trees` and `loda` look at several `fields` together, with one model of the package river for
      the pipeline (extra `analytics`). A high score is unusual; there is no band. Half-space trees find
      combinations in empty regions; LODA finds rare values in random sums of the fields. A record costs 30 µs
      (10 trees, 1.2 MB) and 220 µs (100 random sums).

    If there are `max_keys` keys, records of further keys pass without a score and are counted. A key without
    records for `forget_after` to twice that time is forgotten.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "anomalies": "records flagged as anomalies",
        "unscored": "records that passed without a score: `value` (no finite number, or no usable time),"
        " `keys` (there are max_keys others) or `scale` (the usual values are equal: set min_width)",
        "forgotten": "keys whose state was forgotten because of max_keys or a long silence",
    }

    class Config(AnomalySettings):
        """The value, the method and when a value is unusual."""

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        self._fields = config.fields or ([config.field] if config.field else [])
        refuse_unknown(self._fields, context.fields, "fields" if config.fields else "field")
        refuse_unknown([config.time] if config.time else [], context.fields, "time")
        self._names = (config.name, f"{config.name}_score", f"{config.name}_low", f"{config.name}_high")
        for field in self._fields:
            if field in self._names:
                raise ConfigError(
                    f"{field!r} is also a field that this step adds: choose another `name`", ("name",)
                )
        self._key = RecordKey(config.key, context.fields) if config.key else None
        self._key_of: Callable[[Record], Key] = same_key if self._key is None else self._key.of
        self._key_columns = plain_names(config.key)
        self.reads_columns = not config.key or bool(self._key_columns)
        self._detector = _detector(config)
        self._persistence = Persistence.parse(config.for_) if config.for_ is not None else None
        max_future_s = DEFAULT_MAX_FUTURE_S if config.max_future is None else config.max_future
        self._max_future_us = round(max_future_s * US)
        self._clock = ArrivalClock()
        self._models = Generations[Any](config.max_keys, config.forget_after)

    def process(self, records: list[Record], now: Now) -> Processed:
        done = Processed([])
        keys, done.records = keyed(self._key_of, records, done)
        scores = self._scores(keys, RecordColumns(done.records), now)
        name, name_score, name_low, name_high = self._names
        for record, flag, score, low, high in zip(
            done.records, scores.flags, scores.scores, scores.lows, scores.highs, strict=True
        ):
            record[name] = flag
            record[name_score] = score
            record[name_low] = low
            record[name_high] = high
        return done

    def process_columns(self, columns: FlatColumns, now: Now) -> Processed:
        keys: Sequence[Key] | None = [""] * len(columns)
        if self._key is not None:
            keys = self._key.of_columns(list(map(columns.column, self._key_columns)))
        if keys is None:
            return self.process(columns.records(), now)
        found = self._scores(keys, columns, now)
        lists: tuple[list[Any], ...] = (found.flags, found.scores, found.lows, found.highs)
        return Processed([], columns=columns.with_columns(dict(zip(self._names, lists, strict=True))))

    def _scores(self, keys: Sequence[Key], columns: Columns, now: Now) -> Scores:
        """Score and learn the values of some records, and count them."""
        at_s = self._clock.read(now)
        if dropped := self._models.turn(at_s):
            self.context.counters.add("forgotten", len(dropped))
        newer = self._models.newer
        models = list(map(newer.get, keys))
        if not all(models):
            bring, new = self._models.bring, self._detector.new
            models = [
                model or newer.get(key) or bring(key, new) for model, key in zip(models, keys, strict=True)
            ]
        scores = self._detector.see_all(models, *self._numbers(columns, now))
        self._models.put(at_s)
        if self._persistence is not None:
            self._persistence.judge(models, scores.flags)
        counters = self.context.counters
        if anomalies := scores.flags.count(True):
            counters.add("anomalies", anomalies)
        if scores.unusable:
            without_model = models.count(None)
            for reason, count in (("value", scores.unusable - without_model), ("keys", without_model)):
                if count:
                    counters.add("unscored", count, reason)
        if scores.flat:
            counters.add("unscored", scores.flat, "scale")
        return scores

    def _numbers(self, columns: Columns, now: Now) -> tuple[Sequence[Any], Iterable[float]]:
        """The values and the times of the records; a value is NaN if it or its time is unusable.

        With `fields`, each value is a row of several.
        """
        by_field: list[Sequence[float]] = []
        for name in self._fields:
            column: Sequence[Any] = columns.column(name)
            by_field.append(column if set(map(type, column)) == {float} else list(map(finite, column)))
        if self.config.fields:
            return list(zip(*by_field, strict=True)), repeat(0.0, len(columns))
        (numbers,) = by_field
        if self.config.method != "seasonal":
            return numbers, repeat(0.0, len(numbers))
        time = self.config.time
        moments = moments_of_columns(
            None if time is None else columns.column(time),
            columns.column(RECEIVED_AT),
            self._max_future_us,
            now.wall_s,
        )
        usable = [nan if us == NEVER else number for number, us in zip(numbers, moments, strict=True)]
        return usable, [us / US for us in moments]

    def snapshot_parts(self) -> Iterator[bytes]:
        if self._models:
            stored = self._detector.stored
            models = self._models.stored(self._clock.at_s, lambda model: (stored(model), model.last))
            yield from parts_of(("anomaly", self.config.method, self._clock.wall_s, *models))

    def restore(self, state: bytes, now: Now) -> None:
        _, method, wall_s, age_s, newer, older = msgspec.msgpack.decode(state, type=_State)
        if method != self.config.method:
            raise ValueError(f"the state is of the method {method}")
        self._clock.restore(wall_s, now)
        self._models.restore(age_s, newer, older, self._restored)

    def _restored(self, stored: tuple[Any, int]) -> Any:
        of_detector, last = stored
        model = self._detector.of_stored(of_detector)
        model.last = last
        return model

    def fields_after(self) -> frozenset[str] | None:
        known = self.context.fields
        return None if known is None else known.union(self._names)


def _detector(config: AnomalySettings) -> Detector[Any]:
    """The detector of the method."""
    window = config.window or WINDOW.get(config.method, 0)
    fewest = config.min_samples or (min(30, window) if window else 30)
    limits = Limits(
        config.threshold or THRESHOLD.get(config.method, 0.0), config.min_width, fewest, config.learn
    )
    half_life = config.half_life or 50.0
    match config.method:
        case "ewma":
            return Ewma(limits, half_life)
        case "hampel":
            return Hampel(limits, window)
        case "quantile":
            return Quantiles(limits, window, *(config.quantiles or (0.01, 0.99)))
        case "seasonal":
            return Seasonal(
                limits,
                half_life,
                config.season or 0.0,
                config.buckets or 24,
                config.seasons_half_life or 3.0,
            )
        case "half_space_trees" | "loda":
            return Outliers(
                limits_of(config.threshold, config.min_samples, config.learn),
                config.method,
                config.fields or [],
                window,
                config.quantile or (QUANTILE if config.threshold is None else None),
                config.params or {},
            )
