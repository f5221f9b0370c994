import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from streamd.core.batch import Record, copied
from streamd.core.contracts import Offload, Processed, Step
from streamd.core.now import Now
from streamd.runtime.offload_errors import Lost, Unended

Result = TypeVar("Result")

GRACE_S = 0.1
"""How long a cancelled call may take to end before it counts as unended."""


class LoopExecutor:
    """Runs `async` steps on the loop.

    A call that runs out of time is cancelled. One that goes on all the same is left alone and counts as
    unended; it has copies, so the records are rejected as they came.
    """

    def __init__(self, step: Step[Any], settings: Offload) -> None:
        self._step = step
        self._timeout_s = settings.timeout_s
        self._unended = Unended(settings.concurrency)
        self._calls: set[_Call] = set()

    async def run(self, records: list[Record], now: Now) -> Processed:
        self._unended.check()
        call = _Call(self._step, list(map(copied, records)), now)
        self._calls.add(call)
        call.task.add_done_callback(lambda _: self._calls.discard(call))
        try:
            await asyncio.wait({call.task}, timeout=self._timeout_s)
        except asyncio.CancelledError:
            call.cancel()
            raise
        if call.task.done():
            if call.task.cancelled():
                raise Lost("exception", "CancelledError: the function cancelled itself")
            return call.task.result()
        self._unended.add(call.task)
        call.cancel()
        await asyncio.wait({call.task}, timeout=GRACE_S)
        raise Lost("timeout", f"not done after {self._timeout_s:g} s")

    async def call(self, call: Callable[[], Result]) -> Result:
        return call()

    async def close(self) -> None:
        for call in self._calls:
            call.cancel()


class _Call:
    """A batch under way; it knows whose a cancellation is."""

    def __init__(self, step: Step[Any], records: list[Record], now: Now) -> None:
        self._ended = False
        self.task = asyncio.create_task(step.process_async(records, now, self._is_cancelled))

    def cancel(self) -> None:
        self._ended = True
        self.task.cancel()

    def _is_cancelled(self) -> bool:
        """Whether we did it; what the function did to its own task is undone, or it would meet it again in
        the next record's `asyncio.timeout`.
        """
        while not self._ended and self.task.cancelling():
            self.task.uncancel()
        return self._ended
