from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat
from math import isnan
from typing import Any, ClassVar, Literal, Self

import msgspec
from pydantic import Field, model_validator

from streamd.core.arrival_clock import ArrivalClock
from streamd.core.batch import METADATA_KEYS, Record
from streamd.core.contracts import Processed, Step, StepContext
from streamd.core.errors import BadData, ConfigError
from streamd.core.expression import Expression, ExpressionText
from streamd.core.field_names import FieldName, refuse_unknown
from streamd.core.finite import finite
from streamd.core.generations import Generations
from streamd.core.keyed import keyed
from streamd.core.now import Now
from streamd.core.record_key import Key, KeyTexts, RecordKey, same_key
from streamd.core.settings import DurationS, Settings
from streamd.core.state_parts import parts_of
from streamd.drifts.adwin import Adwin
from streamd.drifts.cusum import Cusum
from streamd.drifts.detector import Change, DriftDetector
from streamd.windows.moments import NEVER, US, moments_of, text_of

Method = Literal["adwin", "cusum", "page_hinkley"]
_ONLY: Mapping[str, tuple[Method, ...]] = {
    "confidence": ("adwin",),
    "threshold": ("cusum", "page_hinkley"),
    "slack": ("cusum", "page_hinkley"),
    "clip": ("cusum", "page_hinkley"),
}
"""The methods that an option belongs to; the others belong to all."""
FLAG = "drift"
"""The field with the direction of the change."""
_FIELDS = (FLAG, "drift_at", "level_before", "level_after", "values_before", "values_after")
_State = tuple[Literal["drift"], Method, float, float | None, dict[Any, Any], dict[Any, Any]]
"""The method, the wall clock, the age of the newer generation, and the models of both generations."""


class Drift(Step["Drift.Config"]):
    """Finds lasting changes of the level of a value, or of the share of records for which something is true.

    All records pass. For each change a record is made with the key fields, `drift` (`up` or `down`),
    `drift_at` (the time of the record that revealed it), `level_before` and `level_after` (the mean of the
    values since the last change, and since this one) and `values_before` and `values_after` (how many
    values both are of). With `emit = "flag"` no record is made: the record that revealed the change gets
    these fields, and in other records `drift` is null.

    - `adwin`: compares the older and the newer part of the values since the last change, in every way to
      divide them. For numbers and for shares; finds small changes as well, if they last.
    - `cusum`: adds up how far values are from the mean of the first `min_samples`, and so also finds a
      level that moves slowly. An outlier counts as `clip` at most.
    - `page_hinkley`: as cusum, but from the mean of all values since the last change.

    All three measure in standard deviations of the first `min_samples` values; before these, or as long as
    all are equal, no change is found. Booleans are 1 and 0, and adwin needs no such reference for them. A
    missing value, or one that is no finite number, is not learned.

    Values count in the order of arrival. With `time`, a record that is earlier than another one of its key
    is not learned. If there are `max_keys` keys, records of further keys are not learned. All are counted. A
    key without records for `forget_after` to twice that time is forgotten.

    A record costs about 0.9 µs, and 1.6 µs with adwin; 0.4 µs more with `time`. A key takes about 360 bytes,
    and with adwin 1,000 after 500 values and 100 more each time their number doubles.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "changes": "lasting changes of a level that were found",
        "out_of_order": "records that passed unlearned because later ones of their key were there",
        "unlearned": "records without a finite number, a usable time or a free key: they passed unlearned",
        "forgotten": "keys whose state was forgotten because of max_keys or a long silence",
    }

    class Config(Settings):
        """The value, and what counts as a change."""

        value: ExpressionText = Field(
            description="the value, as an expression: mostly the name of a field, or a condition like"
            " `quality is None`, whose share of true records is followed"
        )
        key: KeyTexts = Field(
            [],
            description="expressions, mostly names of fields: each combination of their values has a level of"
            " its own. Default: one level",
        )
        method: Method = Field("adwin", description="how a change is found")
        min_samples: int = Field(
            100,
            ge=10,
            le=1_000_000,
            description="how many values the reference is of",
        )
        min_scale: float = Field(
            0.0,
            ge=0,
            le=1e100,
            description="the standard deviation of the reference counts as at least this, in the unit of the"
            " value",
        )
        confidence: float = Field(
            0.002,
            gt=0,
            lt=1,
            description="adwin: about the probability that two parts differ by chance; a smaller number finds"
            " fewer and greater changes.",
        )
        threshold: float = Field(
            10.0,
            gt=0,
            le=1e6,
            description="cusum, page_hinkley: the sum at which the level has changed, in standard deviations",
        )
        slack: float = Field(
            0.5,
            ge=0,
            le=100,
            description="cusum, page_hinkley: a change by less than this many standard deviations does not"
            " add up",
        )
        clip: float = Field(
            4.0,
            gt=0,
            le=1e6,
            description="cusum, page_hinkley: a value that is further away than this many standard deviations"
            " counts as if it was so far away, so a single outlier is no change",
        )
        time: FieldName | None = Field(
            None,
            description="field with the time of the record: RFC 3339, ISO 8601 or seconds since 1970."
            " Default: the time of receipt, in the order of arrival",
        )
        max_future: DurationS = Field(
            "5m",  # type: ignore[assignment]  # parsed by the validator
            description="a record whose `time` is later than its receipt by more is not learned. In a file of"
            " old records this refuses no wrong time before today, after which those of its key are out of"
            " order",
        )
        emit: Literal["records", "flag"] = Field(
            "records",
            description="records: make a record for each change; flag: add the change to the record that"
            " revealed it",
        )
        max_keys: int = Field(100_000, ge=1, le=10_000_000, description="most keys that have a level")
        forget_after: DurationS = Field(
            "7d",  # type: ignore[assignment]  # parsed by the validator
            gt=0,
            description="a key without records for this time, at most twice of it, is forgotten",
        )

        @model_validator(mode="after")
        def _check(self) -> Self:
            for option, methods in _ONLY.items():
                if option in self.model_fields_set and self.method not in methods:
                    raise ValueError(f"{option!r} belongs to {' and '.join(methods)}, not to {self.method}")
            if self.clip <= self.slack:
                raise ValueError("clip is not greater than slack, so no value adds up")
            return self

        def detector(self) -> DriftDetector[Any]:
            """The detector of the method."""
            if self.method == "adwin":
                return Adwin(self.min_samples, self.min_scale, self.confidence)
            return Cusum(
                self.min_samples,
                self.min_scale,
                self.threshold,
                self.slack,
                self.clip,
                follows=self.method == "page_hinkley",
            )

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        refuse_unknown([config.time] if config.time else [], context.fields, "time")
        self._key = RecordKey(config.key, context.fields, exact=True)
        for name in self._key.names:
            if name in _FIELDS:
                raise ConfigError(f"{name!r} is a field of the records of changes", ("key",))
        try:
            self._value = Expression(config.value, context.fields).evaluate
        except ValueError as error:
            raise ConfigError(f"value: {error}", ("value",)) from None
        self._key_of: Callable[[Record], Key] = self._key.of if config.key else same_key
        self._detector = config.detector()
        self._max_future_us = round(config.max_future * US)
        self._clock = ArrivalClock()
        self._models = Generations[Any](config.max_keys, config.forget_after)

    def process(self, records: list[Record], now: Now) -> Processed:
        at_s = self._clock.read(now)
        if dropped := self._models.turn(at_s):
            self.context.counters.add("forgotten", len(dropped))
        newer, bring, new = self._models.newer, self._models.bring, self._detector.new
        see, flags = self._detector.see, self.config.emit == "flag"
        counts = dict.fromkeys(("changes", "out_of_order", "unlearned"), 0)
        done = Processed([])
        keys, records = keyed(self._key_of, records, done)
        for key, record, value, at_us in zip(
            keys, records, self._values(records), self._moments(records, now), strict=True
        ):
            is_share = type(value) is bool
            number = float(value) if is_share else finite(value)
            model = newer.get(key) or bring(key, new)
            if flags:
                record[FLAG] = None
            if model is None or isnan(number) or at_us == NEVER:
                counts["unlearned"] += 1
            elif at_us < model.newest_us:
                counts["out_of_order"] += 1
            else:
                model.newest_us = at_us
                if (change := see(model, number, is_share=is_share)) is not None:
                    counts["changes"] += 1
                    self._tell(change, key, record, now, done)
            done.records.append(record)
        self._models.put(at_s)
        for counter, count in counts.items():
            if count:
                self.context.counters.add(counter, count)
        return done

    def _values(self, records: list[Record]) -> list[Any]:
        """The value of each record; None if the expression fails."""
        value_of = self._value
        try:
            return [value_of(record) for record in records]
        except BadData:
            return [_value_or_none(value_of, record) for record in records]

    def _moments(self, records: list[Record], now: Now) -> Iterable[int]:
        """The time of each record, `NEVER` if it has none; equal ones if the order of arrival counts."""
        if self.config.time is None:
            return repeat(0, len(records))
        return moments_of(records, self.config.time, self._max_future_us, now.wall_s)

    def _tell(self, change: Change, key: Key, record: Record, now: Now, done: Processed) -> None:
        """Add the change to the record that has revealed it, or make a record of it."""
        (at_us,) = moments_of([record], self.config.time, self._max_future_us, now.wall_s)
        direction = "up" if change.after > change.before else "down"
        made = dict(zip(_FIELDS, (direction, text_of(at_us), *change), strict=True))
        if self.config.emit == "flag":
            record.update(made)
            return
        keys = self._key.values(key) if self.config.key else {}
        done.records.append({name: record.get(name) for name in METADATA_KEYS} | keys | made)
        done.emitted += 1

    def snapshot_parts(self) -> Iterator[bytes]:
        if self._models:
            stored = self._detector.stored
            models = self._models.stored(self._clock.at_s, lambda model: (stored(model), model.newest_us))
            yield from parts_of(("drift", self.config.method, self._clock.wall_s, *models))

    def restore(self, state: bytes, now: Now) -> None:
        _, method, wall_s, age_s, newer, older = msgspec.msgpack.decode(state, type=_State)
        if method != self.config.method:
            raise ValueError(f"the state is of the method {method}")
        self._clock.restore(wall_s, now)
        self._models.restore(age_s, newer, older, self._restored)

    def _restored(self, stored: tuple[Any, int]) -> Any:
        of_detector, newest_us = stored
        model = self._detector.of_stored(of_detector)
        model.newest_us = newest_us
        return model

    def fields_after(self) -> frozenset[str] | None:
        known = self.context.fields
        return None if known is None else known | {*self._key.names, *_FIELDS}


def _value_or_none(value_of: Callable[[Record], Any], record: Record) -> Any:
    try:
        return value_of(record)
    except BadData:
        return None
