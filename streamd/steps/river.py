from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import Field, StringConstraints, model_validator

from streamd.core.arrival_clock import ArrivalClock
from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import BadData, ConfigError, EnvironmentFault
from streamd.core.failure import failure_of
from streamd.core.field_names import FieldName, FieldNames, NewFieldName, refuse_unknown
from streamd.core.now import Now
from streamd.core.record_key import Key, KeyTexts, RecordKey
from streamd.core.settings import DurationS, Settings
from streamd.core.state_parts import parts_of
from streamd.learning import pickles
from streamd.learning.model import Kind, RiverModel, class_name, definition_of, river
from streamd.learning.prequential import DEFAULT, Prequential
from streamd.learning.trial import check_params
from streamd.learning.values import by_text, features_of, is_label, plain, plain_probabilities
from streamd.learning.waiting import Predicted, Waiting, of_stored, stored

WAIT_S = 3600.0
MAX_WAITING = 100_000
_State = tuple[Literal["river"], str, str, str, float, float | None, dict[Any, Any], dict[Any, Any], bytes]
"""The version of river, class and definition of the model, the wall clock, the age of the newer generation,
the waiting predictions of both generations, and the pickle of the model and its metrics."""
_BESIDE_THE_MODEL = {"metrics", "name", "probabilities", "wait", "max_waiting"}
"""Options with which a stored model goes on that was stored with other values of them."""
_NAME: Mapping[Kind, str] = {"classifier": "prediction", "regressor": "prediction", "detector": "score"}


class River(Step["River.Config"]):
    """Predicts with a model of the package river, which learns as records pass.

    All records pass, with one more field: `prediction` for a classifier (a label) or a regressor (a number),
    `score` for an anomaly detector. Each record is predicted before it is learned. A record without one of
    the `fields`, or with a number that is not finite, passes without a prediction (null), and is not learned.

    - The label is in the same record: `learn` names its field.
    - The label comes later: `learn` and `key`. A record without the label is predicted and remembered. A
      later record with the same key and a label passes with the remembered prediction, and the model learns
      the remembered fields with this label.
    - An anomaly detector learns from every record, without a label.

    If the model raises an exception while it predicts, the record is rejected (`exception`). If it raises
    one while it learns, the record passes, and the exception is counted and logged.

    A record costs about 3 µs more than with river alone. A prediction that waits for its label takes
    0.4 KB with two fields, 0.7 KB with probabilities.

    The model is stored with the state of the daemon. Another version of river, another model, or other
    `params`, `fields`, `learn` or `key` begin anew; the log says so. Needs the extra `analytics`.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "predicted": "records with a prediction or score of the model",
        "unpredicted": "records that passed without one: `input` (a field is missing or no finite number) or"
        " `model` (it had none, or no finite number)",
        "learned": "records that the model has learned from",
        "unused_labels": "labels that the model did not learn: `type` (no finite number; a classifier also"
        " learns texts, true and false), `input` (their record had no usable fields), `unknown` (no"
        " prediction waits for them)",
        "unlabelled": "predictions that were forgotten before their label came: `wait`, `max_waiting`, or"
        " `replaced` by a newer one of their key",
        "model_failed": "exceptions of the model: `predict`, `learn`, or `metrics` of its predictions",
    }
    gauges: ClassVar[Mapping[str, str]] = {
        "progressive": "metrics of all labels so far, each compared with the prediction made before it was"
        " learned; `name` is the metric",
    }

    class Config(Settings):
        """The model, its fields and its labels."""

        model: Annotated[str, StringConstraints(pattern=r"^.+\.py:\w+$|^\w+(\.\w+)*:\w+$")] = Field(
            description="a class of river, `river.linear_model:LogisticRegression`, or a function or class of"
            " yours that returns a model: `models.py:build`, with a path relative to the configuration file,"
            " or `package.module:name`"
        )
        params: dict[str, Any] = Field({}, description="keyword arguments for `model`")
        fields: FieldNames = Field(
            description="the fields that the model gets: numbers, true and false, and texts if it takes them"
        )
        learn: FieldName | None = Field(
            None,
            description="field with the label of a classifier or the number of a regressor. A class of river"
            " needs it; a model of yours may have learned before",
        )
        key: KeyTexts = Field(
            [],
            description="expressions, mostly names of fields: the label comes in a later record with the same"
            " values. Default: in the same record",
        )
        wait: DurationS | None = Field(
            None, gt=0, description="with `key`: how long a prediction waits for its label. Default: 1h"
        )
        max_waiting: int | None = Field(
            None,
            ge=2,
            le=10_000_000,
            description="with `key`: most predictions that wait; the older half is forgotten if there are"
            " more. Default: 100000",
        )
        probabilities: bool = Field(
            default=False,
            description="classifiers: also add NAME_probabilities, an object with the probability of each"
            " label",
        )
        metrics: list[str] | None = Field(
            None,
            description="names of classes in river.metrics that compare predictions with labels. Default:"
            " Accuracy, for a regressor MAE and RMSE",
        )
        name: NewFieldName | None = Field(
            None, description="the name of the new field. Default: prediction, for an anomaly detector score"
        )

        @model_validator(mode="after")
        def _check(self) -> Self:
            if self.key and self.learn is None:
                raise ValueError("key needs `learn`, the field with the label that comes later")
            for option in ("wait", "max_waiting"):
                if getattr(self, option) is not None and not self.key:
                    raise ValueError(
                        f"{option!r} belongs to `key`: without it the label is in the same record"
                    )
            if self.metrics and len(set(self.metrics)) < len(self.metrics):
                raise ValueError("a metric is named twice")
            return self

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        self._maker = RiverModel(config.model, context.base_dir, config.params)
        self._unused: Any = self._maker.make()
        """The model that the constructor has made, until it is opened."""
        self._kind = self._maker.kind_of(self._unused)
        _check_options(config, self._kind, is_of_river=self._maker.is_of_river)
        refuse_unknown(config.fields, context.fields, "fields")
        refuse_unknown([config.learn] if config.learn else [], context.fields, "learn")
        name = config.name or _NAME[self._kind]
        self._names: tuple[str, ...] = (name, f"{name}_probabilities") if config.probabilities else (name,)
        for taken in (*config.fields, config.learn):
            if taken in self._names:
                raise ConfigError(
                    f"{taken!r} is also a field that this step adds: choose another `name`", ("name",)
                )
        self._key: Callable[[Record], Key] | None = (
            RecordKey(config.key, context.fields).of if config.key else None
        )
        self._version = str(river().__version__)
        self._class = class_name(type(self._unused))
        self._definition = definition_of(self._unused)
        self._maker.check_stored(self._unused)
        check_params(self._maker, config.fields, self._kind)
        self._model: Any = None
        self._begin()

    def _begin(self) -> None:
        """Begin with no label compared and no prediction waiting."""
        default = DEFAULT[self._kind] if self.config.learn else ()
        self._progress = Prequential(
            default if self.config.metrics is None else self.config.metrics, self._kind
        )
        self._clock = ArrivalClock()
        self._waiting = Waiting(
            self.config.max_waiting or MAX_WAITING, WAIT_S if self.config.wait is None else self.config.wait
        )
        self._pickled: bytes | None = b""
        """The stored model; None if it may have changed since; no bytes before it was used."""
        self._failures: list[BadRecord] = []
        self._counts = Counter[tuple[str, str]]()

    def open(self) -> None:
        """Make the model."""
        if self._model is None:
            self._begin()
            try:
                self._model, self._unused = self._maker.make() if self._unused is None else self._unused, None
            except ConfigError as error:  # its files have changed their mind since
                raise EnvironmentFault(str(error)) from error

    async def close(self) -> None:
        """Forget the model."""
        self._model = None

    def is_current(self) -> bool:
        """Whether the files of the model are unchanged. An installed package counts as unchanged."""
        return self._maker.is_current()

    def process(self, records: list[Record], now: Now) -> Processed:
        at_s = self._clock.read(now)
        self._waiting.turn(at_s)
        done = Processed([])
        for record in records:
            try:
                self._see(record, at_s)
            except BadData as bad:
                done.rejects.append(BadRecord(record, bad.reason, bad.detail))
            except _Failed as failed:
                done.rejects.append(self._failure(record, "predict", failed.error))
            else:
                done.records.append(record)
        self._waiting.put(at_s)
        done.failures, self._failures = self._failures, []
        self._count()
        return done

    def _see(self, record: Record, at_s: float) -> None:
        """Predict and learn one record. Raises `BadData` for its key, and `_Failed`."""
        learn = self.config.learn
        label = None if learn is None else record.get(learn)
        key = None
        if self._key is not None:
            key = self._key(record)
            if label is not None:
                self._add(record, *self._learn_waiting(key, label, at_s))
                return
        x = features_of(record, self.config.fields)
        value, probabilities = (None, None) if x is None else self._predicted(x)
        self._add(record, value, probabilities)
        if value is not None:
            self._counts["predicted", ""] += 1
        else:
            self._counts["unpredicted", "input" if x is None else "model"] += 1
        if key is not None:
            if x is not None:
                self._waiting.remember(key, Predicted(at_s, x, value, probabilities))
        elif label is not None or self._kind == "detector":
            self._learn(x, label, value, probabilities)

    def _predicted(self, x: dict[str, Any]) -> tuple[Any, dict[Any, float] | None]:
        """The prediction and, if somebody wants them, the probabilities. Raises `_Failed`."""
        self._pickled = None
        probabilities = None
        try:
            if self._kind == "detector":
                return plain(self._model.score_one(x)), None
            value = self._model.predict_one(x)
            if self.config.probabilities or self._progress.needs_probabilities:
                probabilities = plain_probabilities(self._model.predict_proba_one(x))
            return plain(value), probabilities
        except BaseException as error:  # noqa: BLE001 - the user's code; the daemon's signals raise nothing
            raise _Failed(error) from None

    def _add(self, record: Record, value: Any, probabilities: dict[Any, float] | None) -> None:
        record[self._names[0]] = value
        if self.config.probabilities:
            record[self._names[1]] = by_text(probabilities)

    def _learn_waiting(self, key: Key, label: Any, at_s: float) -> tuple[Any, dict[Any, float] | None]:
        """Learn the label of an earlier record. Returns what was predicted then."""
        if not is_label(label, self._kind):
            self._counts["unused_labels", "type"] += 1
            return None, None
        waiting = self._waiting.take(key, at_s)
        if waiting is None:
            self._counts["unused_labels", "unknown"] += 1
            return None, None
        self._learn(waiting.x, label, waiting.value, waiting.probabilities)
        return waiting.value, waiting.probabilities

    def _learn(
        self, x: dict[str, Any] | None, label: Any, value: Any, probabilities: dict[Any, float] | None
    ) -> None:
        if self._kind != "detector" and not is_label(label, self._kind):
            self._counts["unused_labels", "type"] += 1
            return
        if x is None:
            if self._kind != "detector":
                self._counts["unused_labels", "input"] += 1
            return
        self._pickled = None
        try:
            if self._kind == "detector":
                self._model.learn_one(x)
            else:
                self._model.learn_one(x, label)
            self._counts["learned", ""] += 1
        except BaseException as error:  # noqa: BLE001 - the same
            self._failures.append(self._failure({}, "learn", error))
        try:
            self._progress.update(label, value, probabilities)
        except BaseException as error:  # noqa: BLE001 - the same
            self._failures.append(self._failure({}, "metrics", error))

    def _failure(self, record: Record, while_: str, error: BaseException) -> BadRecord:
        self._counts["model_failed", while_] += 1
        failure = failure_of(error, self.context.base_dir)
        return BadRecord(record, "exception", failure.text, error, failure.kind)

    def _count(self) -> None:
        """Add the counts of the batch, and set the gauges if the model has learned."""
        for (name, reason), n in self._counts.items():
            self.context.counters.add(name, n, reason)
        for reason, n in self._waiting.counts():
            self.context.counters.add("unlabelled", n, reason)
        if self._counts["learned", ""]:
            self._set_gauges()
        self._counts.clear()

    def _set_gauges(self) -> None:
        gauges = self.context.counters.gauges
        for gauge in [gauge for gauge in gauges if gauge[1] not in self._progress.metrics]:
            del gauges[gauge]  # a reload has removed the metric
        for name, value in self._progress.values():
            self.context.counters.set_gauge("progressive", value, name)

    def state_settings(self) -> Mapping[str, Any]:
        return self.config.model_dump(mode="json", exclude=_BESIDE_THE_MODEL)

    def snapshot_parts(self) -> Iterator[bytes]:
        kept, at_s = self._waiting.kept, self._clock.at_s
        if self._pickled is None:
            self._pickled = pickles.dump((self._model, self._progress.metrics))
        if self._pickled:
            waiting = kept.stored(at_s, lambda entry: stored(entry, at_s))
            made_by = (self._version, self._class, self._definition)
            yield from parts_of(("river", *made_by, self._clock.wall_s, *waiting, self._pickled))

    def restore(self, state: bytes, now: Now) -> None:
        """As `Step.restore`. Raises `ValueError` for another version of river and for another model."""
        _, version, cls, definition, wall_s, age_s, newer, older, pickled = msgspec.msgpack.decode(
            state, type=_State
        )
        if version != self._version:
            raise ValueError(f"river {version} has stored the model, and {self._version} is installed")
        if cls != self._class:
            raise ValueError(f"the stored model is a {cls}, the model of the step is a {self._class}")
        if definition != self._definition:
            raise ValueError(
                "the stored model was made with other parts or params than the model of the step"
            )
        model, metrics = pickles.load(pickled, self._maker.module)
        if class_name(type(model)) != cls:
            raise ValueError("the stored model is another one than its state says")
        are_the_same = self._progress.take(metrics)
        self._clock.restore(wall_s, now)
        self._waiting.kept.restore(age_s, newer, older, of_stored)
        self._model, self._pickled = model, pickled if are_the_same else None
        self._set_gauges()

    def fields_after(self) -> frozenset[str] | None:
        known = self.context.fields
        return None if known is None else known.union(self._names)


class _Failed(Exception):  # noqa: N818 - carries an exception of the model
    """The model has raised an exception."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


def _check_options(config: River.Config, kind: Kind, *, is_of_river: bool) -> None:
    """Raises `ConfigError` for an option that does not suit the model."""
    if kind == "detector":
        if config.learn is not None:
            raise ConfigError("an anomaly detector learns from every record without a label", ("learn",))
    elif config.learn is None and is_of_river:
        raise ConfigError(f"a new {kind} has learned nothing yet: name the field with the label in `learn`")
    if config.learn in config.fields:
        raise ConfigError(f"{config.learn!r} is the label, so it is not one of the fields", ("fields",))
    if config.probabilities and kind != "classifier":
        raise ConfigError(f"only classifiers have probabilities, and this is a {kind}", ("probabilities",))
    if config.metrics and config.learn is None:
        raise ConfigError(
            "metrics compare predictions with labels: name their field in `learn`", ("metrics",)
        )
