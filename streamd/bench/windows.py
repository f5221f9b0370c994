"""The cost of the step `window`, compared with a loop written by hand over the same records.

Both process the same parts of the records in turn, in one process, so that a machine which gets slower or
faster meanwhile does so for both. A part is larger than a processor's cache.
"""

import gc
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, Row
from streamd.bench.window_by_hand import ByHand
from streamd.core.batch import PEER, RECEIVED_AT, SOURCE, Batch, Record
from streamd.core.columns import FlatColumns
from streamd.core.contracts import StepContext
from streamd.core.now import Now
from streamd.core.timestamp import from_epoch
from streamd.steps.window import Window

GOAL_RATIO = 1.5
MOST_KEYS = 10_000
SIZE_S, DELAY_S = 60, 5
JITTER_S = 1.0
"""Times are up to this much out of order."""
BEGIN_S = 1_767_225_630.0
"""In the middle of a window."""
PART = 100_000
BATCH = 1000
TURNS = 3
SOURCE_NAME, SENDER = "tcp", "192.0.2.1:5000"


@dataclass(frozen=True, slots=True)
class Layout:
    """How the records lie in time."""

    per_window: int
    """Records of a key in a window."""
    texts: bool
    """Whether times are texts and not numbers."""

    def __str__(self) -> str:
        return f"{self.per_window} {'texts' if self.texts else 'numbers'}"


LAYOUTS = [Layout(per_window, texts) for texts in (False, True) for per_window in (10, 100, 1000)]
JUDGED = Layout(100, texts=False)
"""The case with a goal: a million records of 10,000 keys."""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds per million records."""

    layout: Layout
    dicts: float
    columns: float
    by_hand: float


def measure(plan: Plan) -> list[Row]:
    """The step on dicts and on flat records. Raises `BenchError` if it makes other rows than the loop."""
    costs = []
    for layout in LAYOUTS:
        plan.step(f"window: {layout} a window")
        costs.append(cost_of(plan.window_records, layout))
    dicts = _row(plan, costs, "window", "dicts", lambda cost: cost.dicts)
    dicts.goal, dicts.reached = f"ratio ≤ {GOAL_RATIO}", (dicts.ratio or 0) <= GOAL_RATIO
    flat = _row(plan, costs, "window_columns", "flat records", lambda cost: cost.columns)
    flat.goal, flat.reached = "ratio < 1", (flat.ratio or 0) < 1
    if not plan.judge:
        dicts.reached = flat.reached = None
    return [dicts, flat]


def _row(plan: Plan, costs: list[Cost], name: str, what: str, of: Callable[[Cost], float]) -> Row:
    """The figure of `JUDGED`, and the ratios of all cases."""
    (judged,) = (cost for cost in costs if cost.layout == JUDGED)
    ratios = ", ".join(f"{cost.layout} {of(cost) / cost.by_hand:.2f}" for cost in costs)
    return Row(
        name=name,
        what=f"Windows of {plan.window_records:,} {what}: count, mean, min, max",
        value=of(judged),
        unit="CPU s/M",
        note=f"up to {MOST_KEYS:,} keys, {JUDGED.per_window} records of each in a window, times are numbers;"
        f" ratios by records in a window and kind of times: {ratios}; the lowest of {TURNS} runs",
        baseline=judged.by_hand,
        baseline_what="a Python loop over the same dicts that makes the same rows",
        details={"cases": [asdict(cost) for cost in costs]},
    )


def cost_of(count: int, layout: Layout) -> Cost:
    """The lowest cost of some runs over `count` records."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 1_000_000)  # as in a daemon
    try:
        runs = [run(count, layout) for _ in range(TURNS)]
    finally:
        gc.set_threshold(*before)
    return Cost(layout, *(min(took) / count * 1e6 for took in zip(*runs, strict=True)))


def run(count: int, layout: Layout) -> tuple[float, float, float]:
    """CPU seconds of the step with dicts, of the step with flat records, and of the loop."""
    step, flat_step, by_hand = new_step(), new_step(), ByHand(SIZE_S, DELAY_S, texts=layout.texts)
    took_s = [0.0, 0.0, 0.0]
    for number, (records, now) in enumerate(parts(count, layout)):
        batches = [records[at : at + BATCH] for at in range(0, len(records), BATCH)]
        columns = [FlatColumns(_flat(batch, now)) for batch in batches]
        gc.collect()
        gc.freeze()  # a daemon does not hold so many records at once: they are not to be collected
        clock_s = [time.process_time()]
        made = [row for batch in batches for row in step.process(batch, now).records]
        clock_s.append(time.process_time())
        flat = [row for batch in columns for row in flat_step.process_columns(batch, now).records]
        clock_s.append(time.process_time())
        wanted = by_hand.add(records)
        clock_s.append(time.process_time())
        gc.unfreeze()
        for place, (before_s, after_s) in enumerate(pairwise(clock_s)):
            took_s[place] += after_s - before_s
        if made != flat or not _same(made, wanted):
            raise BenchError(f"window: the step and the loop make different rows of part {number}")
    return took_s[0], took_s[1], took_s[2]


def _flat(records: list[Record], now: Now) -> Batch:
    """The same records as a typed batch, which holds no dicts."""
    values = [value for record in records for value in (record["sensor"], record["ts"], record["value"])]
    names = ("sensor", "ts", "value")
    return Batch.of(values, SOURCE_NAME, "bench", SENDER, now.wall_s, fields=names)


def new_step() -> Window:
    """A step with the windows of the loop."""
    options: dict[str, Any] = {
        "size": f"{SIZE_S}s",
        "key": ["sensor"],
        "time": "ts",
        "watermark_delay": f"{DELAY_S}s",
        "aggregate": {"n": "count()", "mean": "mean(value)", "low": "min(value)", "high": "max(value)"},
    }
    step = Window(Window.Config(**options), StepContext("window", "bench", None, Path()))
    step.open()
    return step


def _same(made: list[Record], wanted: list[Record]) -> bool:
    """Whether the rows are the same. Means may differ in the last digits, as the loop just adds up floats."""
    return len(made) == len(wanted) and all(
        {**one, "mean": round(one["mean"], 9)}.items() >= {**other, "mean": round(other["mean"], 9)}.items()
        for one, other in zip(made, wanted, strict=True)
    )


def parts(count: int, layout: Layout) -> Iterator[tuple[list[Record], Now]]:
    """Records as a pipeline passes them to a step, part by part, and the time of receipt."""
    keys = min(MOST_KEYS, max(1, count // layout.per_window))
    rate = keys * layout.per_window / SIZE_S
    chance = random.Random(1)  # noqa: S311 - the same records in every run
    names = [f"sensor-{number:05}" for number in range(keys)]
    as_time: Callable[[float], Any] = from_epoch if layout.texts else float
    made: list[Record] = []
    for number in range(count):
        if number % keys == 0:
            chance.shuffle(names)
        at_s = round(BEGIN_S + number / rate - chance.random() * JITTER_S, 6)
        made.append({
            "sensor": names[number % keys],
            "ts": as_time(at_s),
            "value": chance.random() * 100,
            SOURCE: SOURCE_NAME,
            PEER: SENDER,
        })  # fmt: skip
        if len(made) == PART or number == count - 1:
            wall_s = BEGIN_S + number / rate
            received_at = from_epoch(wall_s)
            for record in made:
                record[RECEIVED_AT] = received_at
            yield made, Now(wall_s, wall_s - BEGIN_S)
            made = []
