import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from streamd.core.batch import Record, copied
from streamd.core.contained import contained
from streamd.core.contracts import Offload, Processed, Step
from streamd.core.now import Now
from streamd.runtime.offload_errors import Lost, Unended

Result = TypeVar("Result")

GRACE_S = 0.1
"""Longest time in which a cancelled call ends before it counts as unended."""


class LoopExecutor:
    """Runs `async` steps on the event loop.

    A call that runs out of time is cancelled. If it does not end, it is left running and counts as unended.
    It works on copies, so the original records are rejected unchanged.
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

    async def tick(self, now: Now) -> Processed:
        return contained(partial(self._step.tick, now))

    def next_deadline(self) -> float | None:
        return self._step.next_deadline()

    @property
    def progress(self) -> int:
        return 0  # a batch is one call

    async def close(self) -> None:
        for call in self._calls:
            call.cancel()


class _Call:
    """A call under way. It distinguishes a cancellation by the daemon from one by the user's function."""

    def __init__(self, step: Step[Any], records: list[Record], now: Now) -> None:
        self._ended = False
        self.task = asyncio.create_task(step.process_async(records, now, self._is_cancelled))

    def cancel(self) -> None:
        self._ended = True
        self.task.cancel()

    def _is_cancelled(self) -> bool:
        """Whether the daemon has cancelled the call.

        If the function has cancelled its own task, this is undone; otherwise the cancellation would show up
        in the `asyncio.timeout` of the next record.
        """
        while not self._ended and self.task.cancelling():
            self.task.uncancel()
        return self._ended
