import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from streamd.core.batch import Record, copied
from streamd.core.contained import contained
from streamd.core.contracts import Offload, Processed, Step
from streamd.core.now import Now
from streamd.runtime.offload_errors import Lost, Unended

Result = TypeVar("Result")
Call = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class ThreadExecutor:
    """Runs a step in threads, which are kept between batches.

    A thread cannot be ended from outside. A call that runs out of time is left running, and another thread
    replaces its thread until `concurrency` calls hang. The call works on copies, so the original records are
    rejected unchanged. The threads are daemon threads, so a hanging call does not keep the process running.
    """

    def __init__(self, step: Step[Any], settings: Offload) -> None:
        self._step = step
        self._timeout_s = settings.timeout_s
        self._unended = Unended(settings.concurrency)
        self._idle: list[_Thread] = []

    async def run(self, records: list[Record], now: Now) -> Processed:
        return await self.call(partial(self._step.process, list(map(copied, records)), now))

    async def call(self, call: Callable[[], Result]) -> Result:
        self._unended.check()
        thread = self._idle.pop() if self._idle else _Thread(self._step.context.name)
        future = thread.start(partial(copy_context().run, call))
        future.add_done_callback(lambda _: self._idle.append(thread))
        try:
            await asyncio.wait({future}, timeout=self._timeout_s)
        except asyncio.CancelledError:
            self._unended.add(future)
            raise
        if future.done():
            return future.result()
        self._unended.add(future)
        raise Lost("timeout", f"not done after {self._timeout_s:g} s; its thread is left running")

    async def tick(self, now: Now) -> Processed:
        return await self.call(partial(contained, partial(self._step.tick, now)))

    def next_deadline(self) -> float | None:
        return self._step.next_deadline()

    @property
    def progress(self) -> int:
        return 0  # a batch is one call

    async def close(self) -> None:
        for thread in self._idle:
            thread.end()


class _Thread:
    """A thread that runs one call after the other."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def start(self, call: Callable[[], Result]) -> asyncio.Future[Result]:
        future: asyncio.Future[Result] = self._loop.create_future()
        self._calls.put((call, future))
        return future

    def end(self) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        while (work := self._calls.get()) is not None:
            call, future = work
            try:
                report = partial(future.set_result, call())
            except BaseException as error:  # noqa: BLE001 - passed on to the event loop
                report = partial(future.set_exception, _awaitable_error(error))
            with suppress(RuntimeError):  # the event loop is closed
                self._loop.call_soon_threadsafe(report)
            del call, work, report


def _awaitable_error(error: BaseException) -> Exception:
    """An exception that a future can hold and that `await` can raise without ending the event loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(f"the step raised {type(error).__name__}")
