"""A waiting step: its batches under way, their order, and the rejects of batches that fail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from streamd.core.batch import Record
from streamd.core.clock import read_clock
from streamd.core.contracts import Offload, Processed, Step
from streamd.core.failure import failure_of
from streamd.core.now import Now
from streamd.runtime.meter import SharedMeter
from streamd.runtime.offload_errors import Lost, all_rejected, lost_batch
from streamd.runtime.offload_loop import LoopExecutor
from streamd.runtime.offload_process import ProcessExecutor
from streamd.runtime.offload_thread import ThreadExecutor
from streamd.runtime.turn import Line, Turn

Result = TypeVar("Result")


class Executor(Protocol):
    """Runs batches of a step in threads, processes or tasks."""

    async def run(self, records: list[Record], now: Now) -> Processed:
        """Process the records. Raises `Lost`. If it is cancelled, it ends the call if that is possible."""

    async def call(self, call: Callable[[], Result]) -> Result:
        """Call another method of the step. Raises its exception, or `Lost`."""

    async def tick(self, now: Now) -> Processed:
        """Tick the step. Raises its exception, or `Lost`."""

    def next_deadline(self) -> float | None:
        """When `tick` is due. Raises the exceptions of the step's code."""

    async def close(self) -> None:
        """End all threads, processes or tasks."""

    @property
    def progress(self) -> int:
        """A number that changes with every call that ends, also within a batch."""


EXECUTORS: dict[str, Callable[[Step[Any], Offload], Executor]] = {
    "loop": LoopExecutor,
    "thread": ThreadExecutor,
    "process": ProcessExecutor,
}


class Offloaded:
    """One waiting step. The records of a batch always come back, either processed or as rejects."""

    def __init__(self, step: Step[Any], settings: Offload, clock: Callable[[], Now] = read_clock) -> None:
        self.meter = SharedMeter(clock().mono_s)
        """The meter of the step; the pipeline updates it."""
        self.concurrency = settings.concurrency
        self._context = step.context
        self._executor = EXECUTORS[settings.executor](step, settings)
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._exclusive = asyncio.Lock()
        self.by_key = settings.partition is not None
        """Whether several parts of a batch may be processed at the same time, each key in its order."""
        self._keeps_order = self.by_key or settings.concurrency == 1
        self._entry = Line()
        self.line = Line()
        """The line behind the step, in which batches regain the order in which they came."""

    def enter(self) -> Turn | None:
        """A place before the slots, for `process`, if the step has to see all records in their order.

        Called when the records come to the step. None if batches may overtake each other on the way in.
        """
        return self._entry.join() if self._keeps_order else None

    async def process(
        self,
        records: list[Record],
        now: Now,
        begin: Callable[[], None] = lambda: None,
        entry: Turn | None = None,
    ) -> Processed:
        """Wait for one of `concurrency` slots, call `begin`, and process the records."""
        try:
            if entry is not None:
                await entry.come()
            async with self._slots:
                if entry is not None:
                    entry.leave()
                begin()
                return await self._run(records, now)
        finally:
            if entry is not None:
                entry.leave()

    async def _run(self, records: list[Record], now: Now) -> Processed:
        try:
            done = await self._executor.run(records, now)
        except Lost as lost:
            return lost_batch(records, lost, self._context)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - a failure of the user's code rejects the batch
            kind, detail = failure_of(error, self._context.base_dir)
            return all_rejected(records, "exception", detail, error, kind)
        if done.commit is not None:
            done.commit()
        return done

    async def alone(self, call: Callable[[], Result]) -> Result:
        """Call another method of the step in its executor, while none of its batches is under way."""
        async with self.idle():
            return await self._executor.call(call)

    async def tick(self, now: Now) -> Processed:
        """Tick the step, while none of its batches is under way. Raises its exception, or `Lost`."""
        async with self.idle():
            done = await self._executor.tick(now)
            if done.commit is not None:
                done.commit()
            return done

    def next_deadline(self) -> float | None:
        """When `tick` is due. Raises the exceptions of the step's code."""
        return self._executor.next_deadline()

    @asynccontextmanager
    async def idle(self) -> AsyncIterator[None]:
        """Wait until none of the batches of the step is under way, and let none begin."""
        taken = 0
        async with self._exclusive:
            try:
                while taken < self.concurrency:
                    await self._slots.acquire()
                    taken += 1
                yield
            finally:
                for _ in range(taken):
                    self._slots.release()

    @property
    def progress(self) -> int:
        """A number that changes with every call that ends, also within a batch."""
        return self._executor.progress

    async def close(self) -> None:
        """End the calls that are still running."""
        await self._executor.close()
