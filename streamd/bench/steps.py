"""The cost of each step in this process, compared with a hand-written loop over the same records.

Both get records of the same stream, a batch at a time, each batch made just before it is measured. They take
turns, and the cheapest turn of each counts. The garbage collector is off meanwhile.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from streamd import registry
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, Row
from streamd.bench.step_cases import CASES, StepCase
from streamd.codecs.json import Json
from streamd.core.batch import Batch, Record
from streamd.core.contracts import Processed, Step, StepContext
from streamd.core.errors import ConfigError
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.sensors import LINES_A_SECOND, SensorStream

READ = 512
"""Records of a batch: about 64 KiB of a stream."""
_BEGAN_WALL_S = 1_769_846_400.0
"""2026-01-31T08:00:00Z, when the sensor stream begins."""


class Readings:
    """Batches of readings as a step gets them: decoded, with metadata, at the pace of the sensor stream."""

    def __init__(self, case: StepCase) -> None:
        self._case = case
        self._stream = SensorStream()
        self._codec = Json(Json.Config(), None)
        self._sent = 0

    def next(self) -> tuple[list[Record], Now]:
        """The next batch, and its time."""
        lines = self._stream.lines(READ)
        self._sent += READ
        passed_s = self._sent / LINES_A_SECOND
        now = Now(_BEGAN_WALL_S + passed_s, passed_s)
        decoded = self._codec.decode(Frames.of(lines, "127.0.0.1:5", now.wall_s), now)
        batch = Batch.of(decoded.records, "tcp", "bench", "127.0.0.1:5", now.wall_s)
        batch.lift()
        return self._case.suited(batch.records), now


@contextmanager
def opened(type_name: str, case: StepCase, folder: Path) -> Iterator[Step[Any]]:
    """The step of a case, with its files in `folder`."""
    for name, text in case.files.items():
        (folder / name).write_text(text)
    cls = registry.load("steps", type_name)
    context = StepContext(type_name, "bench", None, folder)
    step: Step[Any] = cls(cls.Config(**case.options), context)
    step.open()
    try:
        yield step
    finally:
        asyncio.run(step.close())


def scenario(type_name: str) -> Callable[[Plan], list[Row]]:
    """The measurement of the step of this type."""
    return lambda plan: _rows(type_name, CASES[type_name], plan)


def _rows(type_name: str, case: StepCase, plan: Plan) -> list[Row]:
    """The row of the step; none if the package of its extra is not installed."""
    try:
        return [_row(type_name, case, plan)]
    except ConfigError as error:
        if not case.extra or f"[{case.extra}]" not in str(error):
            raise
        plan.step(f"step_{type_name} is left out: {error}")
        return []


def _row(type_name: str, case: StepCase, plan: Plan) -> Row:
    plan.step(f"step_{type_name}")
    costs, by_hand_costs = [], []
    with plan.folder() as folder, opened(type_name, case, folder) as step, no_collection():
        loop = case.by_hand()
        readings, by_hand_readings = Readings(case), Readings(case)
        for _ in range(1 + plan.step_turns):
            costs.append(_turn_us(partial(_checked, step), readings, plan.step_batches))
            by_hand_costs.append(
                _turn_us(lambda records, now: loop(records, now.mono_s), by_hand_readings, plan.step_batches)
            )
    costs, by_hand_costs = costs[1:], by_hand_costs[1:]  # the first turn fills the states
    return Row(
        name=f"step_{type_name}",
        what=f"Step {type_name}: {case.what}",
        value=min(costs),
        unit="µs/record",
        baseline=min(by_hand_costs),
        baseline_what=f"by hand: {case.by_hand_what}",
        details={"us": costs, "by_hand_us": by_hand_costs, "options": dict(case.options)},
    )


def _checked(step: Step[Any], records: list[Record], now: Now) -> Processed:
    """Process the records. Raises `BenchError` if the result loses some, or if none pass."""
    taken_in = len(records)
    done = step.process(records, now)
    made = len(done.records) + done.filtered + done.absorbed + len(done.rejects)
    if taken_in + done.emitted != made:
        raise BenchError(
            f"step_{step.context.name}: of {taken_in} records and {done.emitted} new ones, {made} have a fate"
        )
    return done


def _turn_us(process: Callable[[list[Record], Now], Any], readings: Readings, batches: int) -> float:
    """The cost of some batches, in µs for each of their records."""
    count, took_s = 0, 0.0
    for _ in range(batches):
        records, now = readings.next()
        count += len(records)
        started_s = time.process_time()
        done = process(records, now)
        took_s += time.process_time() - started_s
        del done
    return took_s / count * 1e6


@contextmanager
def no_collection() -> Iterator[None]:
    """The garbage collector is off meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
