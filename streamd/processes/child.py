"""One process, as the leading process sees it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

from streamd.core.clock import read_clock
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.processes.launch import ended, launched
from streamd.processes.link import (
    VARIABLE,
    Assignment,
    Reloaded,
    ReloadRequest,
    Report,
    StopRequest,
    encoded,
    received,
)
from streamd.processes.shared_books import take_over
from streamd.processes.shared_numbers import SharedNumbers
from streamd.processes.snapshot import ProcessSnapshot
from streamd.reload.changes import Changes
from streamd.reload.own_command import NOT_PASSED_ON

_START = """
import sys
sys.path[:] = {path!r}
sys.argv[1:] = ["run", "--config", {config!r}]
from streamd.__main__ import main
sys.exit(main())
"""


class LedProcess:
    """A process from its start to its end."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.snapshot = ProcessSnapshot()
        """Its newest report."""
        self.reported_last = False
        """Whether it has reported its books after its drain."""
        self.pid: int | None = None
        """Its process id, once it was started."""
        self.started = read_clock()
        self.heard_mono_s = self.started.mono_s
        self.is_ready = asyncio.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._answer: asyncio.Future[Reloaded] | None = None
        self._numbers: SharedNumbers | None = None

    async def start(self, config: str) -> None:
        """Start the process. Raises `EnvironmentFault`."""
        ours, its = socket.socketpair()
        numbers = self._numbers = SharedNumbers()
        self.assignment = replace(self.assignment, numbers=numbers.fd)
        environ = {key: value for key, value in os.environ.items() if key not in NOT_PASSED_ON}
        environ[VARIABLE] = str(its.fileno())
        given = [one.fd for one in self.assignment.given]
        shared = [] if self.assignment.connections is None else [self.assignment.connections]
        program = _START.format(path=sys.path, config=config)
        try:
            self._process = await launched(
                [sys.executable, *[f"-W{option}" for option in sys.warnoptions], "-c", program],
                environ,
                its,
                (numbers.fd, *given, *self.assignment.inherited, *shared),
            )
        except OSError as error:
            ours.close()
            numbers.close()
            raise EnvironmentFault(f"a process cannot be started: {error.strerror}") from error
        self.pid = self._process.pid
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._writer.write(encoded(self.assignment))
        self._reading = asyncio.create_task(self._read(reader))

    async def ended(self) -> int:
        """Wait for the end of the process and of its reports. Returns its exit code, or -signal.

        If it has not reported its last books, those of its newest report then get the numbers that it left in
        shared memory.
        """
        assert self._process is not None  # noqa: S101 - `start` comes first
        assert self._reading is not None  # noqa: S101 - as above
        code = await ended(self._process)
        await self._reading
        if self._writer is not None:
            self._writer.close()
        if self._numbers is not None:
            if not self.reported_last:
                take_over(self.snapshot.books, self._numbers)
            self._numbers.close()
        return code

    async def reload(self, *, dry_run: bool) -> Changes:
        """Let it reload. Raises `ConfigError` or `EnvironmentFault` with the text of its refusal."""
        if self._writer is None or not self.is_ready.is_set() or self._writer.is_closing():
            raise EnvironmentFault(f"process {self.assignment.number} is not ready: try again when it is")
        self._answer = asyncio.get_running_loop().create_future()
        self._writer.write(encoded(ReloadRequest(dry_run)))
        answer = await self._answer
        if answer.refusal is not None:
            raise ConfigError(answer.refusal) if answer.is_config else EnvironmentFault(answer.refusal)
        return answer.changes

    def stop(self, *, is_last: bool) -> None:
        """Let it drain and end."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encoded(StopRequest(is_last)))

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while (message := await received(reader)) is not None:
            self.heard_mono_s = read_clock().mono_s
            if isinstance(message, Report):
                least_waits_s = _least(self.snapshot.least_waits_s, message.snapshot.least_waits_s)
                self.snapshot, self.reported_last = message.snapshot, message.is_last
                self.snapshot.least_waits_s = least_waits_s
                if message.snapshot.phase == "running":
                    self.is_ready.set()
            elif isinstance(message, Reloaded) and self._answer is not None and not self._answer.done():
                self._answer.set_result(message)
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reloaded(refusal="the process has ended meanwhile"))


def _least(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {
        name: min(one.get(name, wait_s), other.get(name, wait_s)) for name, wait_s in (one | other).items()
    }
