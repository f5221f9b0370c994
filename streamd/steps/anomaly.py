from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat
from math import isnan, nan
from typing import Any, ClassVar, Literal, Self

import msgspec
from pydantic import Field, model_validator

from streamd.anomalies.detector import Detector
from streamd.anomalies.ewma import Ewma
from streamd.anomalies.hampel import Hampel
from streamd.anomalies.limits import MOST, Learn, Limits
from streamd.anomalies.persistence import Persistence, PersistenceText
from streamd.anomalies.quantiles import Quantiles
from streamd.anomalies.seasonal import Seasonal
from streamd.core.arrival_clock import ArrivalClock
from streamd.core.batch import RECEIVED_AT, Record
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import BadData, ConfigError
from streamd.core.field_names import FieldName, NewFieldName, refuse_unknown
from streamd.core.generations import Generations
from streamd.core.now import Now
from streamd.core.record_key import Key, KeyTexts, RecordKey
from streamd.core.settings import DurationS, Settings
from streamd.core.state_parts import Entries, parts_of
from streamd.core.timestamp import canonical
from streamd.windows.moments import US, of_canonical

Method = Literal["ewma", "hampel", "quantile", "seasonal"]
_ONLY: Mapping[str, tuple[Method, ...]] = {
    "half_life": ("ewma", "seasonal"),
    "window": ("hampel", "quantile"),
    "quantiles": ("quantile",),
    "season": ("seasonal",),
    "buckets": ("seasonal",),
    "seasons_half_life": ("seasonal",),
    "time": ("seasonal",),
}
"""The methods that an option belongs to; the others belong to all."""
_THRESHOLD: Mapping[Method, float] = {"ewma": 4.0, "hampel": 4.0, "quantile": 1.5, "seasonal": 4.0}
_MEDIAN = 0.5
_WINDOW: Mapping[Method, int] = {"hampel": 31, "quantile": 200}
_State = tuple[Literal["anomaly"], Method, float, float | None, dict[Any, Any], dict[Any, Any]]
"""The method, the wall clock, the age of the newer generation, and the models of both generations."""


class Anomaly(Step["Anomaly.Config"]):
    """Finds unusual values of each key. All records pass, with four more fields.

    `anomaly` is true if the value is outside the band, and with `for` only if enough of the last values were.
    `anomaly_score` is the distance from the expected value in scales of the method; at an end of the band it
    is `threshold`. `anomaly_low` and `anomaly_high` are the band. All four are null while the model has fewer
    than `min_samples` values, if all values so far are equal and there is no `min_width`, and if the value is
    missing or no finite number (then it is not learned). A value is scored before it is learned.

    - `ewma`: mean and standard deviation, newer values weigh more. For values that spread evenly around a
      level that moves slowly.
    - `hampel`: median and median absolute deviation of the last `window` values. Up to half of them may be
      unusual without an effect.
    - `quantile`: a band between two quantiles of the last `window` values, for skewed values.
    - `seasonal`: the distance from a profile of the day or week. It learns for one season before it scores.

    If there are `max_keys` keys, records of further keys pass without a score and are counted. A key without
    records for `forget_after` to twice that time is forgotten.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "anomalies": "records flagged as anomalies",
        "unscored": "records without a finite number, a time or a free key: they passed without a score",
        "forgotten": "keys whose state was forgotten because of max_keys or a long silence",
    }

    class Config(Settings):
        """The value, the method and when a value is unusual."""

        field: FieldName = Field(description="the field with the value")
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
            " 1.5",
        )
        min_width: float = Field(
            0.0,
            ge=0,
            allow_inf_nan=False,
            description="the band reaches at least this far from the expected value, in the unit of the"
            " value",
        )
        min_samples: int | None = Field(
            None,
            ge=2,
            le=1_000_000,
            description="values of a key before it is scored. Default: 30, or `window` if less",
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
            " band), all (the value) or inside (nothing)",
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
            description="hampel, quantile: how many of the last values count. Default: 31; quantile: 200",
        )
        quantiles: tuple[float, float] | None = Field(
            None,
            description="quantile: which shares of the values are below the ends of the band, if `threshold`"
            " is 1. Default: [0.01, 0.99]",
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
                if getattr(self, option) is not None and self.method not in methods:
                    raise ValueError(f"{option!r} belongs to {' and '.join(methods)}, not to {self.method}")
            if self.method == "seasonal" and self.season is None:
                raise ValueError('seasonal needs a season, like season = "1d"')
            if self.quantiles is not None and not 0 <= self.quantiles[0] < _MEDIAN < self.quantiles[1] <= 1:
                raise ValueError("quantiles are two shares, one below and one above 0.5, like [0.01, 0.99]")
            window = self.window or _WINDOW.get(self.method)
            if window is not None and self.min_samples is not None and self.min_samples > window:
                raise ValueError(f"min_samples is at most the window, {window}")
            return self

        def detector(self) -> Detector[Any]:
            """The detector of the method."""
            window = self.window or _WINDOW.get(self.method, 0)
            fewest = self.min_samples or (min(30, window) if window else 30)
            limits = Limits(self.threshold or _THRESHOLD[self.method], self.min_width, fewest, self.learn)
            half_life = self.half_life or 50.0
            match self.method:
                case "ewma":
                    return Ewma(limits, half_life)
                case "hampel":
                    return Hampel(limits, window)
                case "quantile":
                    return Quantiles(limits, window, *(self.quantiles or (0.01, 0.99)))
                case "seasonal":
                    return Seasonal(
                        limits,
                        half_life,
                        self.season or 0.0,
                        self.buckets or 24,
                        self.seasons_half_life or 3.0,
                    )

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        refuse_unknown([config.field], context.fields, "field")
        refuse_unknown([config.time] if config.time else [], context.fields, "time")
        self._names = (config.name, f"{config.name}_score", f"{config.name}_low", f"{config.name}_high")
        if config.field in self._names:
            raise ConfigError(
                f"{config.field!r} is also a field that this step adds: choose another `name`", ("name",)
            )
        self._key: Callable[[Record], Key] = RecordKey(config.key, context.fields).of if config.key else _same
        self._detector = config.detector()
        self._persistence = Persistence.parse(config.for_) if config.for_ is not None else None
        self._clock = ArrivalClock()
        self._models = Generations[Any](config.max_keys, config.forget_after)

    def process(self, records: list[Record], now: Now) -> Processed:
        at_s = self._clock.read(now)
        if dropped := self._models.turn(at_s):
            self.context.counters.add("forgotten", len(dropped))
        newer, key_of, see = self._models.newer, self._key, self._detector.see
        name, name_score, name_low, name_high = self._names
        unscored = anomalies = 0
        done = Processed([])
        keep = done.records.append
        for record, number, number_s in zip(records, *self._numbers(records), strict=True):
            try:
                key = key_of(record)
            except BadData as bad:
                done.rejects.append(BadRecord(record, bad.reason, bad.detail))
                continue
            model = newer.get(key) or self._model(key)
            flag = score = low = high = None
            if model is None or not -MOST <= number <= MOST:
                unscored += 1
            elif (scored := see(model, number, number_s)) is not None:
                score, low, high = scored
                flag = not low <= number <= high
                if self._persistence is not None:
                    flag = self._persistence.judge(model, unusual=flag)
                anomalies += flag
            record[name] = flag
            record[name_score] = score
            record[name_low] = low
            record[name_high] = high
            keep(record)
        self._models.put(at_s)
        for counter, count in (("anomalies", anomalies), ("unscored", unscored)):
            if count:
                self.context.counters.add(counter, count)
        return done

    def _numbers(self, records: list[Record]) -> tuple[Iterable[float], Iterable[float]]:
        """The values and the times of the records; a value is NaN if it or its time is unusable."""
        field, time = self.config.field, self.config.time or RECEIVED_AT
        numbers = [
            value if type(value) is float else _number(value)
            for value in [record.get(field) for record in records]
        ]
        if self.config.method != "seasonal":
            return numbers, repeat(0.0, len(records))
        times = [_seconds(record.get(time)) for record in records]
        return [nan if isnan(at_s) else n for n, at_s in zip(numbers, times, strict=True)], times

    def _model(self, key: Key) -> Any:
        """The model of a key that is not in the newer generation; None if there are too many keys."""
        models = self._models
        model = models.older.pop(key, None)
        if model is None:
            if len(models) >= self.config.max_keys:
                return None
            model = self._detector.new()
        models.newer[key] = model
        return model

    def snapshot_parts(self) -> Iterator[bytes]:
        models = self._models
        if models:
            stored = self._detector.stored
            both = (
                Entries(one, lambda model: (stored(model), model.last))
                for one in (models.newer, models.older)
            )
            yield from parts_of(
                ("anomaly", self.config.method, self._clock.wall_s, models.age_s(self._clock.at_s), *both)
            )

    def restore(self, state: bytes, now: Now) -> None:
        _, method, wall_s, age_s, *both = msgspec.msgpack.decode(state, type=_State)
        if method != self.config.method:
            raise ValueError(f"the state is of the method {method}")
        self._clock.restore(wall_s, now)
        self._models.restore(
            age_s, *({key: self._restored(*its) for key, its in one.items()} for one in both)
        )

    def _restored(self, stored: Any, last: int) -> Any:
        model = self._detector.of_stored(stored)
        model.last = last
        return model

    def fields_after(self) -> frozenset[str] | None:
        known = self.context.fields
        return None if known is None else known.union(self._names)


def _same(record: Record) -> Key:
    del record
    return ""


def _number(value: Any) -> float:
    """The value as a float; NaN if it is no number."""
    try:
        return float(value) if type(value) is int else nan
    except OverflowError:
        return nan


def _seconds(value: Any) -> float:
    """The time since 1970; NaN if the value is no time."""
    try:
        return nan if value is None else of_canonical(canonical(value)) / US
    except BadData:
        return nan
