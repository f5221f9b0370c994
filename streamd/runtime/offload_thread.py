import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from streamd.core.batch import Record, copied
from streamd.core.contracts import Offload, Processed, Step
from streamd.core.now import Now
from streamd.runtime.offload_errors import Lost, Unended

Result = TypeVar("Result")
Call = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class ThreadExecutor:
    """Runs steps in threads of its own, which are kept between batches.

    A thread cannot be ended from outside: one that runs out of time is left alone, and another takes its
    place until as many as `concurrency` hang. It has copies, so the records are rejected as they came. The
    threads are daemons: one that hangs for ever does not keep the process from ending.
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
        raise Lost("timeout", f"not done after {self._timeout_s:g} s; its thread is left to itself")

    async def close(self) -> None:
        for thread in self._idle:
            thread.end()


class _Thread:
    """A thread that makes one call after the other."""

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
                tell = partial(future.set_result, call())
            except BaseException as error:  # noqa: BLE001 - the loop's side judges it
                tell = partial(future.set_exception, _tellable(error))
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(tell)
            del call, work, tell


def _tellable(error: BaseException) -> Exception:
    """What a future may hold and an `await` may raise without being taken for the loop's own."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(f"the step raised {type(error).__name__}")
