"""A process of the daemon's own, whose start does not hold the event loop up."""

import asyncio
import os
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any


class OwnProcess:
    """A running process, for which the event loop can wait.

    It is started with `vfork`, which takes about 3 ms. uvloop would `fork`: for a daemon with 600 MB of
    memory the loop then stands still for 40 ms, because the kernel copies the tables of the memory.
    """

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        """Start it. `options` are those of `subprocess.Popen`. Raises `OSError`."""
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._process = subprocess.Popen(command, **options)  # noqa: S603 - the caller's own program
        threading.Thread(target=self._watch, name="process-end", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process id, which is not given to another process before `wait` has returned."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, or -signal. None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for its end. Returns `returncode`."""
        await self._ended.wait()
        return self._process.wait()

    def _watch(self) -> None:
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        with suppress(RuntimeError):  # the loop is closed: the daemon has stopped
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._process.wait()
        self._ended.set()
