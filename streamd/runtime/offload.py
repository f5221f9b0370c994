"""A step that waits: its batches under way, their order, and what becomes of those that do not come back."""

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
    """Where batches of a step are run."""

    async def run(self, records: list[Record], now: Now) -> Processed:
        """What the step makes of the records. Raises `Lost`; when cancelled, nothing goes on running that
        can be ended.
        """

    async def call(self, call: Callable[[], Result]) -> Result:
        """What the call of a method of the step gives. Raises what that raises, or `Lost`."""

    async def close(self) -> None:
        """End everything."""


EXECUTORS: dict[str, Callable[[Step[Any], Offload], Executor]] = {
    "loop": LoopExecutor,
    "thread": ThreadExecutor,
    "process": ProcessExecutor,
}


class Offloaded:
    """One waiting step. Whatever happens to a batch, its records come back: made, or as rejects."""

    def __init__(self, step: Step[Any], settings: Offload, clock: Callable[[], Now] = read_clock) -> None:
        self.meter = SharedMeter(clock().mono_s)
        """Kept by those who bring the batches: the pipeline."""
        self.concurrency = settings.concurrency
        self._context = step.context
        self._executor = EXECUTORS[settings.executor](step, settings)
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._exclusive = asyncio.Lock()
        self.line = Line()
        """Behind the step: batches leave it in the order they came."""

    async def process(
        self, records: list[Record], now: Now, begin: Callable[[], None] = lambda: None
    ) -> Processed:
        """Run the records through the step; waits for one of `concurrency` slots first and then calls
        `begin`.
        """
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
            except BaseException as error:  # noqa: BLE001 - a step is anybody's code: it costs its batch
                kind, detail = failure_of(error, self._context.base_dir)
                return _all_rejected(records, "exception", detail, error, kind)
        return done

    async def alone(self, call: Callable[[], Result]) -> Result:
        """Call something else of the step where the step runs, while none of its batches is under way."""
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
        """End what is still running."""
        await self._executor.close()


def _all_rejected(
    records: list[Record], reason: str, detail: str, error: BaseException | None, kind: str
) -> Processed:
    return Processed([], rejects=[BadRecord(record, reason, detail, error, kind) for record in records])
