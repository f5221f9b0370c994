"""The cost of a python step in worker processes, compared with the same step inline.

Both get the same batches, and the cheapest turn of each counts. The cost of a record in the daemon is its CPU
time; that of the processes is measured at their end, without that of processes that get one batch only.
"""

import asyncio
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamd.bench.by_hand import FUNCTION
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, Row
from streamd.bench.step_cases import CASES
from streamd.bench.steps import Readings
from streamd.core.batch import Record
from streamd.core.contracts import StepContext
from streamd.core.now import Now
from streamd.runtime.stage import Stage
from streamd.steps.python import Python

CLASS = """
class Last:
    def open(self, context):
        self.state = context.state
    def __call__(self, record):
        state = self.state[record["sensor"]]
        record["change"] = record["value"] - state.get("value", record["value"])
        state["value"] = record["value"]
        return record
"""
"""A user's class with one value by key."""
Batches = list[tuple[list[Record], Now]]


@dataclass(frozen=True, slots=True)
class ProcessCase:
    """A function or class in processes."""

    name: str
    what: str
    function: str
    options: dict[str, Any]


PROCESS_CASES = [
    ProcessCase("process", "a function that adds a field", "one", {}),
    ProcessCase("process_state", "a class with one value of context.state by sensor", "Last", {}),
    ProcessCase(
        "process_keys", "the same class in two processes by sensor", "Last",
        {"concurrency": 2, "partition_by": ["sensor"]},
    ),
]  # fmt: skip


def measure(plan: Plan) -> list[Row]:
    """The three cases. Raises `BenchError` if a record is lost."""
    return [asyncio.run(_row(plan, case)) for case in PROCESS_CASES]


async def _row(plan: Plan, case: ProcessCase) -> Row:
    plan.step(case.name)
    readings = Readings(CASES["python"])
    batches = [readings.next() for _ in range(plan.step_batches)]
    with plan.folder() as folder:
        (folder / "steps.py").write_text(FUNCTION + CLASS)
        inline, _, _ = await _costs(folder, case.function, batches, plan.step_turns, {})
        options = {"executor": "process"} | case.options
        daemon, wall, children = await _costs(folder, case.function, batches, plan.step_turns, options)
        _, _, starting = await _costs(folder, case.function, batches[:1], 0, options)
    count = sum(len(records) for records, _ in batches) * (1 + plan.step_turns) - len(batches[0][0])
    worker_us = max(0.0, children - starting) / count * 1e6
    return Row(
        name=case.name,
        what=f"A record crosses to a process and back: {case.what}",
        value=min(daemon),
        unit="µs/record",
        note=f"CPU time of the daemon; {worker_us:.1f} µs in the processes; {1e6 / min(wall):,.0f} records/s",
        baseline=min(inline),
        baseline_what="the same inline",
        details={"daemon_us": daemon, "wall_us": wall, "inline_us": inline, "processes_us": worker_us},
    )


async def _costs(
    folder: Path, function: str, batches: Batches, turns: int, options: dict[str, Any]
) -> tuple[list[float], list[float], float]:
    """CPU and wall time of each turn, in µs for each record, and the CPU seconds of the processes.

    One turn before them starts the processes.
    """
    config = Python.Config.model_validate({"function": f"steps.py:{function}"} | options)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    stage = Stage("python[0]", Python(config, StepContext("python[0]", "bench", None, folder)))
    stage.open()
    cpu, wall = [], []
    try:
        for _ in range(1 + turns):
            cpu_s, wall_s, count = time.process_time(), time.perf_counter(), 0
            for records, now in batches:
                if stage.offloaded is None:
                    done = stage.process(records, None, now)
                else:
                    done = await stage.offloaded.process(records, now)
                if len(done.records) != len(records):
                    raise BenchError(f"of {len(records)} records, {len(done.records)} came back")
                count += len(records)
            cpu.append((time.process_time() - cpu_s) / count * 1e6)
            wall.append((time.perf_counter() - wall_s) / count * 1e6)
    finally:
        await stage.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return cpu[1:], wall[1:], after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
