"""A waiting step: its batches under way, their order, and the rejects of batches that fail."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import structlog

from streamd.core.batch import Record
from streamd.core.clock import read_clock
from streamd.core.contracts import BadRecord, Offload, Processed, Step
from streamd.core.failure import failure_of
from streamd.core.now import Now
from streamd.runtime.meter import SharedMeter
from streamd.runtime.offload_errors import Lost
from streamd.runtime.offload_loop import LoopExecutor
from streamd.runtime.offload_process import ProcessExecutor
from streamd.runtime.offload_thread import ThreadExecutor
from streamd.runtime.turn import Line

log = structlog.get_logger()

Result = TypeVar("Result")


class Executor(Protocol):
    """Runs batches of a step in threads, processes or tasks."""

    async def run(self, records: list[Record], now: Now) -> Processed:
        """Process the records. Raises `Lost`. If it is cancelled, it ends the call if that is possible."""

    async def call(self, call: Callable[[], Result]) -> Result:
        """Call another method of the step. Raises its exception, or `Lost`."""

    async def close(self) -> None:
        """End all threads, processes or tasks."""


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
        self.line = Line()
        """The line behind the step, in which batches regain the order in which they came."""

    async def process(
        self, records: list[Record], now: Now, begin: Callable[[], None] = lambda: None
    ) -> Processed:
        """Wait for one of `concurrency` slots, call `begin`, and process the records."""
        async with self._slots:
            begin()
            try:
                done = await self._executor.run(records, now)
            except Lost as lost:
                log.warning(
                    "step_batch_lost",
                    pipeline=self._context.pipeline,
                    step=self._context.name,
                    reason=lost.reason,
                    detail=lost.detail,
                    records=len(records),
                )
                return _all_rejected(records, lost.reason, lost.detail, lost.error, lost.kind)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - a failure of the user's code rejects the batch
                kind, detail = failure_of(error, self._context.base_dir)
                return _all_rejected(records, "exception", detail, error, kind)
        return done

    async def alone(self, call: Callable[[], Result]) -> Result:
        """Call another method of the step in its executor, while none of its batches is under way."""
        taken = 0
        async with self._exclusive:
            try:
                while taken < self.concurrency:
                    await self._slots.acquire()
                    taken += 1
                return await self._executor.call(call)
            finally:
                for _ in range(taken):
                    self._slots.release()

    async def close(self) -> None:
        """End the calls that are still running."""
        await self._executor.close()


def _all_rejected(
    records: list[Record], reason: str, detail: str, error: BaseException | None, kind: str
) -> Processed:
    return Processed([], rejects=[BadRecord(record, reason, detail, error, kind) for record in records])
