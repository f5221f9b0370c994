from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    StringConstraints,
    model_validator,
)

from streamd.core.batch import Record
from streamd.core.columns import Columns, FlatColumns, RecordColumns
from streamd.core.contracts import BadRecord, Offload, Processed, Step, StepContext
from streamd.core.errors import ConfigError, EnvironmentFault, StreamdError
from streamd.core.field_names import NAMES_OR_MAPPING, FieldName, FieldNames, NewFieldName, refuse_unknown
from streamd.core.now import Now
from streamd.core.settings import DurationS, Settings, SizeBytes

if TYPE_CHECKING:  # it needs the packages of the extra `onnx`
    from streamd.models.scoring import Scored, Scoring

_TIMEOUT_S = 30.0
_PAUSE_S = 10.0


Text = Annotated[str, StringConstraints(min_length=1)]


class Model(Step["Model.Config"]):
    """Scores whole batches of records with a model of a file in the format ONNX.

    Fields of the record are the inputs of the model, and its outputs become fields. Names, types and shapes
    are checked against the model at the start. The step needs the extra `onnx`.

    A record passes unscored, with null in the new fields, if an input is missing or unusable (`on_missing`),
    if the model fails on it, or if the model is over its `budget`. It is counted by the reason.

    While records arrive, a thread looks every `check_every` whether the file has changed, and loads it if it
    has rested for a second. The old model stays in use until the new one has the same inputs and outputs and
    has run the last records; a failure is counted (`failed_loads`) and is in the log. The file may be renamed
    into its place or written in place.

    Beside the time of the model, a record of four fields costs 0.3 µs in batches of 512, 0.2 µs if it is
    typed, and 20 µs in a batch of its own. The step remembers nothing between batches.
    """

    reads_columns = True
    in_each_process = True
    counters: ClassVar[Mapping[str, str]] = {
        "not_scored": "records that passed without a score of the model, by reason: missing or invalid (an"
        " input), failed (the model), over_budget",
        "filled": "records with an unusable number, which the model got as NaN",
        "not_finite": "numbers of the model that are not finite: the field is null",
        "loads": "times that the model was loaded",
        "failed_loads": "times that a changed file was not used, by reason; the model before it stays in use",
        "shadow_agreed": "records on which model and shadow agree",
        "shadow_differed": "records on which model and shadow differ",
        "shadow_unscored": "records without a score of the shadow, by reason: failed, over_budget",
        "shadow_loads": "times that the shadow was loaded",
        "shadow_failed_loads": "times that a changed file of the shadow was not used, by reason",
    }
    gauges: ClassVar[Mapping[str, str]] = {
        "in_use": "1 for the model in use; the name has the first 12 digits of its SHA-256",
        "shadow_in_use": "1 for the shadow in use, as for the model",
    }

    class Config(Settings):
        """The model, its inputs and outputs, and what happens without a score."""

        file: Text = Field(description="the file of the model, relative to the configuration file")
        inputs: FieldNames | dict[str, FieldName | FieldNames] | None = Field(
            None,
            description="the fields of the model's only input, in the order of the training; or those of each"
            ' input: { X = ["t", "p"], unit = "unit" }. Default: each input is the field of its name',
        )
        outputs: (
            Annotated[
                dict[NewFieldName, Text],
                NAMES_OR_MAPPING,
            ]
            | None
        ) = Field(
            None,
            description='new fields and the outputs that they get: ["label"], or { fault = "label", score ='
            ' "probabilities[1]" } with a column, from 0 on. Default: all outputs. An output with several'
            " columns becomes a list",
        )
        on_missing: Literal["null", "nan", "reject"] = Field(
            "null",
            description="a record with an input that is missing or of another type, or no finite number: null"
            " (it passes unscored), nan (the model gets NaN; only for inputs of floats, others as null) or"
            " reject (model:missing, model:invalid)",
        )
        version_field: NewFieldName | None = Field(
            None,
            description="a field for the model that scored the record: the first 12 hexadecimal digits of the"
            " file's SHA-256",
        )
        reason_field: NewFieldName | None = Field(
            None,
            description="a field for the reason why the record is unscored: missing, invalid, failed or"
            " over_budget; null if it is scored",
        )
        shadow: Text | None = Field(
            None,
            description="the file of a second model with the same inputs and outputs, which scores the same"
            " records without any effect on them; counters say how often both agree",
        )
        shadow_tolerance: float | None = Field(
            None,
            ge=0,
            allow_inf_nan=False,
            description="both models agree if their numbers differ by at most this, and their labels are"
            " equal. Default: only the labels are compared",
        )
        budget: DurationS | None = Field(
            None,
            gt=0,
            description="longest time of the model for a batch. After three longer ones in a row, records"
            " pass unscored for `budget_pause`; then one batch is tried. Default: no bound",
        )
        budget_pause: DurationS | None = Field(
            None,
            gt=0,
            description="how long records pass unscored after batches over the budget. Default: 10s",
        )
        executor: Literal["inline", "thread"] = Field(
            "inline",
            description="where the model runs: inline (in the daemon's event loop, which does nothing else"
            " meanwhile) or thread (for models that take longer than a few milliseconds)",
        )
        concurrency: int = Field(
            1,
            ge=1,
            le=64,
            description="thread: number of batches scored at the same time; their order is kept",
        )
        timeout: DurationS | None = Field(
            None,
            gt=0,
            description="thread: a batch that takes longer is rejected; its thread is left running. Default:"
            " 30s",
        )
        check_every: DurationS = Field(  # type: ignore[assignment]  # parsed by the validator
            "5s", gt=0, description="how often the file is checked for a change"
        )
        max_size: SizeBytes = Field(  # type: ignore[assignment]  # parsed by the validator
            "256MiB", description="largest file of a model"
        )

        @model_validator(mode="after")
        def _check(self) -> Self:
            if self.inputs is not None and not self.inputs:
                raise ValueError("inputs: a model without inputs scores nothing")
            if self.outputs is not None and not self.outputs:
                raise ValueError("outputs: a model without outputs scores nothing")
            if self.shadow_tolerance is not None and self.shadow is None:
                raise ValueError("shadow_tolerance has no effect without shadow")
            if self.budget_pause is not None and self.budget is None:
                raise ValueError("budget_pause has no effect without budget")
            if self.executor == "inline":
                for key, is_set in (("concurrency", self.concurrency > 1), ("timeout", self.timeout)):
                    if is_set:
                        raise ValueError(
                            f'{key} has no effect on a model that runs inline: set executor = "thread"'
                        )
            return self

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        for key, name in _fields(config.inputs):
            refuse_unknown([name], context.fields, "inputs", key)
        self._scoring = _scoring(config, context)
        for name in self._scoring.inputs if config.inputs is None else ():
            refuse_unknown([name], context.fields, "inputs")
        if config.executor == "thread":
            self.offload = Offload("thread", config.concurrency, config.timeout or _TIMEOUT_S)

    def rehearse(self) -> None:
        """Load the models unless they are loaded. Raises `EnvironmentFault`."""
        try:
            self._scoring.open()
        except StreamdError as fault:
            raise EnvironmentFault(f"{self.context.place}: {fault}") from None

    def open(self) -> None:
        """Load the models unless the constructor has done it. Raises `EnvironmentFault`."""
        self.rehearse()

    async def close(self) -> None:
        self._scoring.close()

    def is_current(self) -> bool:
        """Whether no file holds a model with other inputs or outputs, which only a new step can use."""
        return not self._scoring.is_refused

    def process(self, records: list[Record], now: Now) -> Processed:
        scored = self._scored(RecordColumns(records), now)
        if not scored.rejected:
            for name, values in scored.fields.items():
                for record, value in zip(records, values, strict=True):
                    record[name] = value
            return Processed(records)
        done = Processed([])
        for place, record in enumerate(records):
            if (why := scored.rejected.get(place)) is not None:
                done.rejects.append(BadRecord(record, *why))
                continue
            for name, values in scored.fields.items():
                record[name] = values[place]
            done.records.append(record)
        return done

    def process_columns(self, columns: FlatColumns, now: Now) -> Processed:
        scored = self._scored(columns, now)
        rejects = [BadRecord(columns.record(place), *why) for place, why in scored.rejected.items()]
        columns = columns.with_columns(scored.fields)
        if rejects:
            columns = columns.chosen([place not in scored.rejected for place in range(len(columns))])
        return Processed([], rejects=rejects, columns=columns)

    def _scored(self, columns: Columns, now: Now) -> "Scored":
        if not self._scoring.is_open:
            self.open()
        return self._scoring.score(columns, now.mono_s)

    def fields_after(self) -> frozenset[str] | None:
        known = self.context.fields
        return None if known is None else known.union(self._scoring.fields)


def _fields(inputs: Any) -> Iterator[tuple[str | int, str]]:
    """Each field of the option `inputs`, with its key there."""
    if isinstance(inputs, list):
        yield from enumerate(inputs)
    elif inputs is not None:
        for key, fields in inputs.items():
            for field in [fields] if isinstance(fields, str) else fields:
                yield key, field


def _scoring(config: Model.Config, context: StepContext) -> "Scoring":
    """The models, loaded. Raises `ConfigError`."""
    try:
        from streamd.models import scoring  # noqa: PLC0415 - only this step needs the packages
    except ImportError as error:
        raise ConfigError(
            f"the step model needs the package {error.name or 'onnxruntime'}: pip install"
            " 'streamd-daemon[onnx]'",
            ("type",),
        ) from None
    settings = scoring.ScoringSettings(
        file=context.base_dir / config.file,
        shadow=None if config.shadow is None else context.base_dir / config.shadow,
        inputs=config.inputs,
        outputs=config.outputs,
        on_missing=config.on_missing,
        version_field=config.version_field,
        reason_field=config.reason_field,
        tolerance=config.shadow_tolerance,
        budget_s=config.budget,
        pause_s=config.budget_pause or _PAUSE_S,
        check_every_s=config.check_every,
        most_bytes=config.max_size,
    )
    labels = {"pipeline": context.pipeline, "step": context.name}
    return scoring.Scoring(settings, context.counters, labels)
