"""The tasks of a daemon by name. One that fails stops the daemon."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from streamd.core.clock import read_clock
from streamd.runtime.closing import CLOSE_TIMEOUT_S

log = structlog.get_logger()


class NamedTasks(dict[str, asyncio.Task[Any]]):
    """The newest task of each name, and the older ones that still finish, by a name of their own."""

    def __init__(self, stop: asyncio.Event) -> None:
        """`stop` is set if a task fails."""
        super().__init__()
        self._stop = stop
        self.failed = False
        """Whether a task has failed."""

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task. One of the same name that a reload has replaced may still be finishing."""
        before = self.get(name)
        if before is not None and not before.done():
            key = f"{name} #{id(before)}"
            self[key] = before
            before.add_done_callback(lambda _: self.pop(key, None))
        task = self[name] = asyncio.create_task(work, name=name)
        task.add_done_callback(lambda done: self._on_end(name, done))
        return task

    async def finish(self, kind: str, end_mono_s: float) -> None:
        """Wait for the tasks whose names begin with `kind` until `end_mono_s`, then cancel the rest."""
        tasks = [task for name, task in self.items() if name.startswith(kind)]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=max(0.0, end_mono_s - read_clock().mono_s))
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=CLOSE_TIMEOUT_S)

    def cancel(self) -> None:
        """Cancel all tasks."""
        for task in self.values():
            task.cancel()

    def _on_end(self, name: str, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("part_failed", part=name, error=repr(error), exc_info=error)
            self.failed = True
            self._stop.set()
