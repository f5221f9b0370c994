"""ModelScores batches of records with the model of a file."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog

from streamd.core.columns import Columns
from streamd.models.budget import Budget
from streamd.models.model_file import LoadedModel, ModelFile
from streamd.models.onnx import Array, ModelFault, Tensors

log = structlog.get_logger()


@dataclass(slots=True)
class TensorRows:
    """The tensors of a batch's usable records."""

    tensors: Tensors
    places: Sequence[int]
    """The places of the usable records in the batch."""
    unusable: dict[int, str] = field(default_factory=dict)
    """The field with the first unusable value, by the place of the record."""
    filled: int = 0
    """Usable records with a NaN for an unusable value."""


@dataclass(slots=True)
class ModelScores:
    """The results for the records at `places` in the batch."""

    digest: str
    places: Sequence[int]
    values: list[Array]
    """The values of each output, one for each place."""
    failed: dict[int, str] = field(default_factory=dict)
    """The error of the model by the place of the record."""


def rows_of(columns: Columns, loaded: LoadedModel, *, fill: bool) -> TensorRows:
    """The tensors for the model. With `fill`, an unusable number is NaN and its record is usable."""
    count = len(columns)
    unusable: dict[int, str] = {}
    unusable_numbers: dict[int, str] = {}
    tensors = {
        one.name: one.tensor(columns, unusable_numbers if one.kind == "number" and fill else unusable)
        for one in loaded.plan.inputs
    }
    filled = len(unusable_numbers.keys() - unusable.keys())
    if not unusable:
        return TensorRows(tensors, range(count), unusable, filled)
    keep = np.ones(count, bool)
    keep[list(unusable)] = False
    tensors = {name: tensor[keep] for name, tensor in tensors.items()}
    return TensorRows(tensors, np.flatnonzero(keep).tolist(), unusable, filled)


class Scorer:
    """A model with a budget of time."""

    def __init__(
        self,
        file: ModelFile,
        budget: Budget | None,
        labels: Mapping[str, str],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.file = file
        self._budget = budget
        self._log = log.bind(**labels)
        self._clock = clock
        self._told: str | None = None
        """The model whose first failure is in the log."""

    def score(self, rows: TensorRows, loaded: LoadedModel, now_s: float) -> ModelScores | None:
        """The results; None if the model has to pause because of its budget.

        If the model fails, each record runs alone, so that one record cannot take the others with it.
        """
        digest = loaded.model.digest
        if not rows.places:
            return ModelScores(digest, [], [])
        if self._budget is None:
            return self._score(rows, loaded)
        if not self._budget.allows(now_s):
            return None
        began_s = self._clock()
        scores = self._score(rows, loaded)
        took_s = self._clock() - began_s
        if self._budget.took(took_s, now_s):
            if self._budget.is_pausing:
                self._log.warning(
                    "model_over_budget", model=digest, took_s=round(took_s, 6), records=len(rows.places)
                )
            else:
                self._log.info("model_within_budget", model=digest, took_s=round(took_s, 6))
        return scores

    def _score(self, rows: TensorRows, loaded: LoadedModel) -> ModelScores:
        digest = loaded.model.digest
        try:
            values = loaded.run(rows.tensors, len(rows.places))
        except ModelFault as fault:
            self._tell(digest, fault)
        else:
            self.file.sample = rows.tensors
            return ModelScores(digest, rows.places, values)
        places: list[int] = []
        parts: list[list[Array]] = []
        failed: dict[int, str] = {}
        for row, place in enumerate(rows.places):
            try:
                parts.append(loaded.run({n: t[row : row + 1] for n, t in rows.tensors.items()}, 1))
            except ModelFault as fault:
                failed[place] = str(fault)
            else:
                places.append(place)
        values = [np.concatenate(some) for some in zip(*parts, strict=True)]  # none if all have failed
        return ModelScores(digest, places, values, failed)

    def _tell(self, digest: str, fault: ModelFault) -> None:
        if self._told != digest:
            self._told = digest
            self._log.warning("model_failed", model=digest, error=str(fault))
