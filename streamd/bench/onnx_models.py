"""The cost of the step `model` by size of the batch, compared with onnxruntime alone and with a loop by hand.

The models are small, because a large one hides what is around it. They were trained by scikit-learn on
readings of a machine: a logistic regression, gradient boosting with 20 trees of depth 3, and a neural network
with 16 hidden units.
"""

import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, Row, SkippedError
from streamd.bench.steps import no_collection
from streamd.core.batch import Batch, Record
from streamd.core.columns import FlatColumns
from streamd.core.contracts import StepContext
from streamd.core.errors import ConfigError
from streamd.core.now import Now
from streamd.steps.model import Model

MODELS = {"logistic": "logistic regression", "boosting": "gradient boosting", "mlp": "neural network"}
SIZES = (1, 16, 128, 512)
"""Records of a batch."""
JUDGED_SIZE = 512
GOAL_RATIO = 1.3
FIELDS = ["value", "vibration", "humidity", "pressure"]
MEANS = [20.0, 1.0, 45.0, 1013.0]
DEVIATIONS = [2.0, 0.3, 8.0, 6.0]
TURN_RECORDS = 20_000
"""Records of a turn, in batches of each size; at most `MOST_CALLS` batches."""
MOST_CALLS = 200
OUTPUTS = {"fault": "label", "score": "probabilities[1]"}
SENDER = "192.0.2.1:5000"
_FOLDER = Path(__file__).parent / "models"
_NOW = Now(1_769_846_400.0, 50.0)


@dataclass(frozen=True, slots=True)
class ModelCost:
    """µs for each record."""

    model: str
    size: int
    dicts: float
    """The step, from dicts to dicts."""
    columns: float
    """The step, with the columns of typed records."""
    by_hand: float
    """A loop: fields of dicts into an array, `session.run`, results into dicts."""
    run: float
    """The part of the step from tensors to the values of its fields."""
    alone: float
    """`session.run` with the same tensors."""


def measure(plan: Plan) -> list[Row]:
    """Three rows. Raises `BenchError` if results differ, and `SkippedError` without the extra `onnx`."""
    costs = []
    with no_collection():
        for name in MODELS:
            for size in SIZES:
                plan.step(f"model: {name}, batches of {size}")
                costs.append(_cost(name, size, plan))
    rows = [
        _row(costs, "model_run", "Inside the step model, from tensors to values", "run", "alone"),
        _row(costs, "model", "Step model on dicts", "dicts", "by_hand"),
        _row(costs, "model_columns", "Step model on flat records", "columns", "by_hand"),
    ]
    rows[0].goal = f"ratio ≤ {GOAL_RATIO} for each model"
    if plan.judge:
        judged = [cost for cost in costs if cost.size == JUDGED_SIZE]
        rows[0].reached = all(cost.run <= GOAL_RATIO * cost.alone for cost in judged)
    return rows


def _row(costs: list[ModelCost], name: str, what: str, key: str, baseline: str) -> Row:
    """The figure of the logistic regression in large batches, and those of all cases."""

    def shown(cost: ModelCost) -> str:
        value, base = getattr(cost, key), getattr(cost, baseline)
        return f"{cost.model} {cost.size} {value:.2f} ({value / base:.2f})"

    judged = next(cost for cost in costs if cost.size == JUDGED_SIZE)
    what_baseline = {
        "alone": "onnxruntime's session.run with the same tensors",
        "by_hand": "a loop: np.array of the fields, session.run, results into the dicts",
    }
    return Row(
        name=name,
        what=f"{what}: {MODELS[judged.model]} of {len(FIELDS)} fields, batches of {judged.size}",
        value=getattr(judged, key),
        unit="µs/record",
        note="µs/record (ratio) by model and size of the batch: " + ", ".join(map(shown, costs)),
        baseline=getattr(judged, baseline),
        baseline_what=what_baseline[baseline],
        details={"cases": [asdict(cost) for cost in costs]},
    )


def _cost(name: str, size: int, plan: Plan) -> ModelCost:
    """The lowest cost of some turns. All ways take turns, each with records of its own."""
    try:
        step = Model(
            Model.Config(file=str(_FOLDER / f"{name}.onnx"), inputs=FIELDS, outputs=OUTPUTS),
            StepContext("model", "bench", None, Path()),
        )
    except ConfigError as error:
        if error.keys == ("type",):
            raise SkippedError(str(error)) from None
        raise
    import numpy as np  # noqa: PLC0415 - the packages of the extra are there

    from streamd.models.model_file import LoadedModel  # noqa: PLC0415
    from streamd.models.onnx import new_session  # noqa: PLC0415
    from streamd.models.plan import Wanted  # noqa: PLC0415

    content = (_FOLDER / f"{name}.onnx").read_bytes()
    loaded, session = LoadedModel.of(content, Wanted(FIELDS, OUTPUTS)), new_session(content)
    names = ["label", "probabilities"]

    def by_hand(records: list[Record]) -> list[Record]:
        array = np.array([[record[field] for field in FIELDS] for record in records], np.float32)
        labels, chances = session.run(names, {"X": array})
        for record, label, chance in zip(records, labels.tolist(), chances[:, 1].tolist(), strict=True):
            record["fault"], record["score"] = label, chance
        return records

    ways: list[Callable[[Any], Any]] = [
        lambda records: step.process(records, _NOW).records,
        lambda columns: step.process_columns(columns, _NOW).columns,
        by_hand,
        lambda tensors: loaded.run(tensors, size),
        lambda tensors: session.run(names, tensors),
    ]
    rows = _readings(size)
    tensors = {"X": np.array(rows, np.float32)}
    makers: list[Callable[[], Any]] = [
        lambda: _dicts(rows), lambda: _flat(rows), lambda: _dicts(rows), lambda: tensors, lambda: tensors,
    ]  # fmt: skip
    best = [float("inf")] * len(ways)
    for turn in range(1 + plan.step_turns):
        results = []
        for place, (way, make) in enumerate(zip(ways, makers, strict=True)):
            took_us, result = _turn_us(way, make, size)
            results.append(result)
            if turn:  # the first one fills the caches
                best[place] = min(best[place], took_us)
        dicts, columns, wanted, values, raw = results
        found = [columns.column(field) for field in OUTPUTS]
        if dicts != wanted or found != [[record[field] for record in wanted] for field in OUTPUTS]:
            raise BenchError(f"model: the step and the loop give different results of {name}")
        if [one.tolist() for one in values] != found or raw[0].tolist() != found[0]:
            raise BenchError(f"model: the step and onnxruntime give different results of {name}")
    return ModelCost(name, size, *best)


def _turn_us(way: Callable[[Any], Any], make: Callable[[], Any], size: int) -> tuple[float, Any]:
    """µs for each record, and the last result."""
    calls = max(1, min(MOST_CALLS, TURN_RECORDS // size))
    given = [make() for _ in range(calls + 1)]
    result = way(given.pop())  # the first call finds other data in the processor's cache
    began_s = time.process_time()
    for one in given:
        result = way(one)
    took_s = time.process_time() - began_s
    return took_s / calls / size * 1e6, result


def _readings(size: int) -> list[list[float]]:
    chance = random.Random(1)  # noqa: S311 - the same records in every run
    return [
        [chance.gauss(mean, deviation) for mean, deviation in zip(MEANS, DEVIATIONS, strict=True)]
        for _ in range(size)
    ]


def _dicts(rows: list[list[float]]) -> list[Record]:
    """Records as a pipeline passes them to a step."""
    batch = Batch.of(
        [dict(zip(FIELDS, row, strict=True)) for row in rows], "tcp", "bench", SENDER, _NOW.wall_s
    )
    batch.lift()
    return batch.records


def _flat(rows: list[list[float]]) -> FlatColumns:
    values = [value for row in rows for value in row]
    return FlatColumns(Batch.of(values, "tcp", "bench", SENDER, _NOW.wall_s, fields=tuple(FIELDS)))
