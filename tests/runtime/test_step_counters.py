"""Wherever a step runs, what it counts arrives whole."""

import asyncio
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from streamd.core.batch import Record
from streamd.core.contracts import Offload, Step, StepContext
from streamd.core.now import Now
from streamd.core.settings import Settings
from streamd.runtime.offload import Offloaded


class Counting(Step[Settings]):
    """Counts its records, by their kind."""

    counters: ClassVar[dict[str, str]] = {"seen": "records by their kind", "batches": "calls"}

    def process_one(self, record: Record, now: Now) -> Record:
        del now
        self.context.counters.add("seen", reason=record["kind"])
        return record

    def is_current(self) -> bool:
        return True


@pytest.mark.parametrize("executor", ["thread", "process", "loop"])
async def test_counters_of_batches_at_the_same_time_add_up(
    executor: Literal["thread", "process", "loop"], tmp_path: Path
) -> None:
    step = Counting(Settings(), StepContext("counting[0]", "p", None, tmp_path))
    offloaded = Offloaded(step, Offload(executor, 2, 30.0))
    records = [{"kind": "odd" if n % 2 else "even"} for n in range(200)]
    try:
        done = await asyncio.gather(
            *(offloaded.process([dict(r) for r in records], Now(1e9, float(n))) for n in range(8))
        )
    finally:
        await offloaded.close()
    assert [len(each.records) for each in done] == [200] * 8
    assert step.context.counters == {("seen", "even"): 800, ("seen", "odd"): 800}
