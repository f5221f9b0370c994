import asyncio

from streamd.core.batch import Record, copied
from streamd.core.contracts import Offload, Processed, Processor
from streamd.core.now import Now
from streamd.runtime.offload_errors import Lost, Unended

GRACE_S = 0.1
"""How long a cancelled call may take to end before it counts as unended."""


class LoopExecutor:
    """Runs `async` steps on the loop.

    A call that runs out of time is cancelled. One that goes on all the same is left alone and counts as
    unended; it has copies, so the records are rejected as they came.
    """

    def __init__(self, processor: Processor, settings: Offload) -> None:
        self._processor = processor
        self._timeout_s = settings.timeout_s
        self._unended = Unended(settings.concurrency)
        self._tasks: set[asyncio.Task[Processed]] = set()

    async def run(self, records: list[Record], now: Now) -> Processed:
        self._unended.check()
        task = asyncio.create_task(self._processor.process_async(list(map(copied, records)), now))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.wait({task}, timeout=self._timeout_s)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.done():
            if task.cancelled():
                raise Lost("exception", "CancelledError: the function cancelled itself")
            return task.result()
        self._unended.add(task)
        task.cancel()
        await asyncio.wait({task}, timeout=GRACE_S)
        raise Lost("timeout", f"not done after {self._timeout_s:g} s")

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
