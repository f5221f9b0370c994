import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from streamd.core.batch import Record
from streamd.core.contracts import Offload, Processed, Step
from streamd.core.now import Now
from streamd.core.record_key import Key
from streamd.runtime.offload_errors import Lost, lost_batch
from streamd.runtime.offload_lane import Lane
from streamd.runtime.offload_partitions import Partition, divided, joined
from streamd.runtime.offload_state import LaneStates
from streamd.runtime.turn import Line, Turn

Result = TypeVar("Result")


class ProcessExecutor:
    """Runs a step in worker processes, which are started when they are first needed.

    With `partition`, each key has its process. A batch is divided by key, its parts are processed at the same
    time, and it goes on when all of them are done.

    The processes end with the daemon, even if it is killed: their socket closes, and the kernel kills them
    when the daemon's thread is gone.
    """

    def __init__(self, step: Step[Any], settings: Offload) -> None:
        count = settings.concurrency
        carried = step.carried
        states = LaneStates(carried, settings.partition, count, step.context) if carried is not None else None
        self._lanes = [Lane(step, settings, number, states) for number in range(count)]
        self._free = list(self._lanes)
        self._context = step.context
        self._key_of = settings.partition.of if settings.partition is not None else None
        self._lines = [Line() for _ in self._lanes]
        """By process: the parts of batches in the order in which they came."""

    @property
    def progress(self) -> int:
        return sum(lane.progress for lane in self._lanes)

    async def run(self, records: list[Record], now: Now) -> Processed:
        if self._key_of is not None:
            return await self._run_by_key(records, now, self._key_of)
        lane = self._free.pop()
        try:
            return await lane.process(records, now)
        finally:
            self._free.append(lane)

    async def _run_by_key(
        self, records: list[Record], now: Now, key_of: Callable[[Record], Key]
    ) -> Processed:
        """Process the records of each key in its own process, after the earlier records of that process."""
        parts, rejects = divided(records, key_of, len(self._lanes))
        turns = [self._lines[part.lane].join() for part in parts]
        try:
            if len(parts) == 1:
                outcomes = [await self._run_part(parts[0], turns[0], now)]
            else:
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(self._run_part(part, turn, now))
                        for part, turn in zip(parts, turns, strict=True)
                    ]
                outcomes = [task.result() for task in tasks]
        finally:  # a task that is cancelled before it begins does not leave its line
            for turn in turns:
                turn.leave()
        done = joined(parts, outcomes)
        done.rejects += rejects
        return done

    async def _run_part(self, part: Partition, turn: Turn, now: Now) -> Processed:
        try:
            await turn.come()
            return await self._lanes[part.lane].process(part.records, now)
        except Lost as lost:
            return lost_batch(part.records, lost, self._context)
        finally:
            turn.leave()

    async def call(self, call: Callable[[], Result]) -> Result:
        return call()  # the state is in the daemon

    async def tick(self, now: Now) -> Processed:
        """Tick all processes that are due. The records of each follow those of the one before."""
        due = [lane for lane in self._lanes if (at := lane.next_deadline()) is not None and at <= now.mono_s]
        whole = Processed([])
        for done in await asyncio.gather(*(lane.tick(now) for lane in due)):
            whole.records += done.records
            whole.failures = [*whole.failures, *done.failures]
        return whole

    def next_deadline(self) -> float | None:
        return min((at for lane in self._lanes if (at := lane.next_deadline()) is not None), default=None)

    async def close(self) -> None:
        await asyncio.gather(*(lane.end() for lane in self._lanes))
