"""What the step `model` does with a batch: fields for scored records, reasons for the others."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from streamd.core.columns import Columns
from streamd.core.counters import Counters
from streamd.core.errors import ConfigError
from streamd.models.budget import Budget
from streamd.models.model_file import ModelFile
from streamd.models.onnx import ModelFault
from streamd.models.outputs import plain
from streamd.models.plan import ModelPlan, Wanted
from streamd.models.scorer import ModelScores, Scorer, TensorRows, rows_of
from streamd.models.shadow import agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringSettings:
    """The options of the step, with whole paths."""

    file: Path
    shadow: Path | None = None
    inputs: Sequence[str] | Mapping[str, str | Sequence[str]] | None = None
    outputs: Mapping[str, str] | None = None
    on_missing: Literal["null", "nan", "reject"] = "null"
    version_field: str | None = None
    reason_field: str | None = None
    tolerance: float | None = None
    budget_s: float | None = None
    pause_s: float = 10.0
    check_every_s: float = 5.0
    most_bytes: int = 2**28


@dataclass(slots=True)
class Scored:
    """The new fields of a batch, with a value for each record, and the rejected records."""

    fields: dict[str, list[Any]]
    rejected: dict[int, tuple[str, str]]
    """Reason and detail by the place of the record."""


class Scoring:
    """A model, perhaps with a shadow, that scores batches."""

    def __init__(self, settings: ScoringSettings, counters: Counters, labels: Mapping[str, str]) -> None:
        """Load the models. Raises `ConfigError`."""
        self._settings = settings
        self._counters = counters
        self._model = self._scorer(settings.file, labels)
        try:
            plan = self._model.file.open().plan
        except ModelFault as fault:
            raise ConfigError(str(fault), ("file",)) from None
        self._shadow: Scorer | None = None
        if settings.shadow is not None:
            self._shadow = self._scorer(settings.shadow, {**labels, "role": "shadow"}, "shadow_")
            _check_shadow(self._shadow.file, plan)
        self.inputs = plan.fields
        """The fields that the model reads."""
        self._labels = [one.is_label for one in plan.outputs]
        options = {settings.reason_field: "reason_field", settings.version_field: "version_field"}
        added = (settings.version_field, settings.reason_field)
        self.fields = [*(one.field for one in plan.outputs), *(name for name in added if name is not None)]
        """The fields that are added."""
        for field in self.fields:
            if field in self.inputs:
                raise ConfigError(
                    f"{field!r} is an input, which would be lost: give the result another name",
                    ("outputs", field)
                    if field in (settings.outputs or ())
                    else (options.get(field, "outputs"),),
                )
            if self.fields.count(field) > 1:
                raise ConfigError(f"{field!r} is two of the new fields", (options.get(field, "outputs"),))
        if settings.on_missing == "nan" and all(one.kind != "number" for one in plan.inputs):
            raise ConfigError("the model has no input of floats, which could be NaN", ("on_missing",))
        if settings.shadow is not None and settings.tolerance is None and not any(self._labels):
            raise ConfigError(
                "no output is a label: say in shadow_tolerance how far apart numbers may be", ("shadow",)
            )

    def _scorer(self, path: Path, labels: Mapping[str, str], prefix: str = "") -> Scorer:
        settings = self._settings
        wanted = Wanted(settings.inputs, settings.outputs)
        file = ModelFile(
            path, settings.most_bytes, settings.check_every_s, wanted, self._counters, labels, prefix
        )
        budget = None if settings.budget_s is None else Budget(settings.budget_s, settings.pause_s)
        return Scorer(file, budget, labels)

    @property
    def _scorers(self) -> list[Scorer]:
        return [self._model] if self._shadow is None else [self._model, self._shadow]

    @property
    def is_open(self) -> bool:
        """Whether the models are loaded."""
        return all(scorer.file.loaded is not None for scorer in self._scorers)

    @property
    def is_refused(self) -> bool:
        """Whether a file has a model with other inputs or outputs, which is not used."""
        return any(scorer.file.is_refused for scorer in self._scorers)

    def open(self) -> None:
        """Load the models unless they are loaded. Raises `ModelFault` or `ConfigError`."""
        for scorer in self._scorers:
            scorer.file.open()

    def close(self) -> None:
        """Forget the models."""
        for scorer in self._scorers:
            scorer.file.close()

    def score(self, columns: Columns, now_s: float) -> Scored:
        """The new fields (`now_s`: monotonic seconds)."""
        loaded = self._model.file.loaded
        if loaded is None:
            raise RuntimeError("the model is closed")
        rows = rows_of(columns, loaded, fill=self._settings.on_missing == "nan")
        if rows.filled:
            self._counters.add("filled", rows.filled)
        scores = self._model.score(rows, loaded, now_s)
        if self._shadow is not None:
            self._compare(self._shadow, rows, scores, now_s)
        # After the scoring: a file that is read again at once must not decide for half of this batch.
        for scorer in self._scorers:
            scorer.file.look(now_s)
        return self._scored(columns, rows, scores)

    def _compare(self, shadow: Scorer, rows: TensorRows, scores: ModelScores | None, now_s: float) -> None:
        loaded = shadow.file.loaded
        if loaded is None or not rows.places:
            return
        other = shadow.score(rows, loaded, now_s)
        if other is None:
            self._counters.add("shadow_unscored", len(rows.places), "over_budget")
            return
        if other.failed:
            self._counters.add("shadow_unscored", len(other.failed), "failed")
        if scores is not None:
            counts = agreement(scores, other, self._labels, self._settings.tolerance)
            for name, count in zip(("shadow_agreed", "shadow_differed"), counts, strict=True):
                if count:
                    self._counters.add(name, count)

    def _scored(self, columns: Columns, rows: TensorRows, scores: ModelScores | None) -> Scored:
        why: dict[int, str] = {}
        """The reason of each record without a score, by its place."""
        details: dict[int, str] = {}
        for place, field in rows.unusable.items():
            value = columns.column(field)[place]
            why[place] = "missing" if value is None else "invalid"
            details[place] = f"{field}: {value!r:.64}"
        if scores is None:
            why |= dict.fromkeys(rows.places, "over_budget")
        else:
            why |= dict.fromkeys(scores.failed, "failed")
            details |= scores.failed
        rejected: dict[int, tuple[str, str]] = {}
        if self._settings.on_missing == "reject":
            rejected = {place: (f"model:{why[place]}", details[place]) for place in sorted(details)}
        for reason, n in Counter(why[place] for place in why if place not in rejected).items():
            self._counters.add("not_scored", n, reason)
        return Scored(self._fields(len(columns), scores, why), rejected)

    def _fields(self, count: int, scores: ModelScores | None, why: Mapping[int, str]) -> dict[str, list[Any]]:
        fields: dict[str, list[Any]] = {name: [None] * count for name in self.fields}
        if scores is not None and scores.places:
            for name, array in zip(self.fields, scores.values, strict=False):
                values, bad = plain(array)
                if bad:
                    self._counters.add("not_finite", bad)
                fields[name] = _spread(values, scores.places, count)
            if (name := self._settings.version_field or "") in fields:
                fields[name] = _spread([scores.digest] * len(scores.places), scores.places, count)
        if why and (name := self._settings.reason_field or "") in fields:
            fields[name] = [why.get(place) for place in range(count)]
        return fields


def _check_shadow(file: ModelFile, plan: ModelPlan) -> None:
    """Load it. Raises `ConfigError` if it cannot take the place of a model with this plan."""
    try:
        found = file.open().plan
    except ModelFault as fault:
        raise ConfigError(str(fault), ("shadow",)) from None
    except ConfigError as error:
        raise ConfigError(f"{file.path}: {error}", ("shadow",)) from None
    if found != plan:
        text = "its inputs or outputs have other types or shapes than those of the model"
        raise ConfigError(f"{file.path}: {text}", ("shadow",))


def _spread(values: list[Any], places: Sequence[int], count: int) -> list[Any]:
    """The values at their places, and None elsewhere."""
    if len(values) == count:
        return values
    spread: list[Any] = [None] * count
    for place, value in zip(places, values, strict=True):
        spread[place] = value
    return spread
