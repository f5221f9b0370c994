"""The cost of the step `anomaly` on the columns of typed records of 10,000 keys, and the memory of a key."""

import gc
import random
import time
import tracemalloc
from pathlib import Path
from typing import Any

from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, Row
from streamd.core.batch import Batch
from streamd.core.columns import FlatColumns
from streamd.core.contracts import StepContext
from streamd.core.now import Now
from streamd.core.plural import counted
from streamd.steps.anomaly import Anomaly

KEYS = 10_000
BATCH = 512
PART = 100
"""Batches whose costs are added up. A batch is made just before it is measured, as a daemon decodes it."""
NAMES = ("sensor", "value")
GOALS_US = {"ewma": 0.6, "hampel": 1.5}
METHODS: dict[str, dict[str, Any]] = {
    "ewma": {},
    "hampel": {},
    "quantile": {},
    "seasonal": {"season": "1d"},
}
"""The options of each method beside field and key."""


def measure(plan: Plan) -> list[Row]:
    """A row for each method. Raises `BenchError` if records are lost."""
    return [_row(method, plan) for method in METHODS]


def _row(method: str, plan: Plan) -> Row:
    plan.step(f"anomaly: {method}")
    costs_us = _costs_us(method, plan)
    bytes_per_key = _bytes_per_key(method)
    row = Row(
        name=f"anomaly_{method}",
        what=f"Step anomaly: {method} of {KEYS:,} keys, on columns",
        value=min(costs_us),
        unit="µs/record",
        note=f"the cheapest of {counted(len(costs_us), 'part')} of {PART * BATCH:,} records, the costliest"
        f" {max(costs_us):.2f}; {bytes_per_key} bytes a key with its name",
        details={"us": costs_us, "bytes_per_key": bytes_per_key},
    )
    if method in GOALS_US:
        row.goal = f"≤ {GOALS_US[method]:g}"
        row.reached = row.value <= GOALS_US[method] if plan.judge else None
    return row


def _step(method: str) -> Anomaly:
    config = Anomaly.Config(field="value", key=["sensor"], method=method, **METHODS[method])
    step = Anomaly(config, StepContext("anomaly", "bench", None, Path()))
    step.open()
    return step


def _costs_us(method: str, plan: Plan) -> list[float]:
    """The cost of each part, once the windows of all keys are full."""
    step, costs_us = _step(method), []
    parts = plan.anomaly_parts
    for part in range(2 * parts):
        scored, took_s = 0, 0.0
        gc.collect()
        gc.disable()
        for number in range(part * PART, (part + 1) * PART):
            columns, now = _batch(number)
            started_s = time.process_time()
            found = _scored(step, columns, now)
            took_s += time.process_time() - started_s
            scored += len(found)
        gc.enable()
        if scored != PART * BATCH:
            raise BenchError(f"anomaly: {scored} of {PART * BATCH} records passed")
        costs_us.append(took_s / scored * 1e6)
    return costs_us[parts:]


def _scored(step: Anomaly, columns: FlatColumns, now: Now) -> FlatColumns:
    done = step.process_columns(columns, now)
    if done.columns is None:
        raise BenchError("anomaly: a batch became dicts")
    return done.columns


def _batch(number: int) -> tuple[FlatColumns, Now]:
    """One of a stream in which all keys take turns, 20,000 records a second."""
    chance = random.Random(number)  # noqa: S311 - the same records in every run
    values: list[Any] = []
    for place in range(number * BATCH, (number + 1) * BATCH):
        values += (f"sensor-{place % KEYS:05}", chance.gauss(20, 2))
    mono_s = number * BATCH / 20_000
    wall_s = 1_769_846_400.0 + mono_s
    return FlatColumns(Batch.of(values, "tcp", "bench", "192.0.2.1:5", wall_s, fields=NAMES)), Now(
        wall_s, mono_s
    )


def _bytes_per_key(method: str) -> int:
    """What the step holds for a key whose window is full."""
    keys, values = 500, 210
    step = _step(method)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(values):
            rows = [value for key in range(keys) for value in (f"sensor-{key:05}", key + number / 7)]
            wall_s = 1_769_846_400.0 + number * 900
            batch = Batch.of(rows, "tcp", "bench", "192.0.2.1:5", wall_s, fields=NAMES)
            step.process_columns(FlatColumns(batch), Now(wall_s, number))
        del rows, batch
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (used - before) // keys
