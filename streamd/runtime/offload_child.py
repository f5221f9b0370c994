"""One worker process, as the daemon sees it: its start, its socket and its end."""

import asyncio
import os
import pickle
import signal
import socket
import sys
from contextlib import suppress

import msgspec

from streamd.core.errors import describe
from streamd.core.traceback_lines import RaisedElsewhere
from streamd.runtime.offload_errors import Lost
from streamd.runtime.offload_messages import LENGTH, Made, Recipe
from streamd.runtime.own_process import OwnProcess

START_TIMEOUT_S = 60.0
"""Longest time in which a worker process imports the user's code, which may load models."""
END_TIMEOUT_S = 1.0
"""Longest time in which a worker process ends by itself after its input is closed."""
LAST_ANSWER_WAIT_S = 0.1
"""Time that is left to read the answer of a process that has ended."""
MAX_ANSWER_BYTES = 1 << 30
"""Longest answer. If a longer one is announced, the user's function has written to the socket."""

_START = "import sys; sys.path[:] = {path!r}; from streamd.runtime.offload_worker import main; main({parent})"


class ChildProcess:
    """One worker process and its socket.

    The socket is both standard input and output of the process. So anything that the user's function writes
    to these descriptors arrives here, as an invalid answer.
    """

    def __init__(
        self, process: OwnProcess, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self.batches = 0
        self._reader = reader
        self._writer = writer
        self._watch = asyncio.create_task(self._close_after_exit())

    @classmethod
    async def start(cls) -> "ChildProcess":
        """Start a process. Raises `OSError`."""
        daemon_end, process_end = socket.socketpair()
        with process_end:
            try:
                process = OwnProcess(
                    [sys.executable, "-c", _START.format(path=sys.path, parent=os.getpid())],
                    stdin=process_end.fileno(),
                    stdout=process_end.fileno(),
                    start_new_session=True,  # Ctrl-C is for the daemon, which drains through its workers
                )
            except BaseException:
                daemon_end.close()
                raise
        return cls(process, *await asyncio.open_unix_connection(sock=daemon_end))

    @property
    def has_ended(self) -> bool:
        """Whether the process is known to have ended."""
        return self.process.returncode is not None

    async def make(self, recipe: Recipe) -> Made:
        """Let the process make the step. Raises `Lost`, and ends the process, if that fails."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                made = msgspec.msgpack.decode(await self.call(pickle.dumps(recipe)), type=Made)
        except TimeoutError:
            made = Made("not ready in time")
        except (EOFError, OSError, ValueError) as error:
            made = Made(f"{describe(error)}; {await self.end()}")
        except BaseException:
            self.kill()
            raise
        if made.text:
            await self.end()
            raised = RaisedElsewhere(made.text, made.lines) if made.lines else None
            raise Lost("worker_died", f"the worker process cannot start: {made.text}", raised, made.kind)
        self.batches = 0
        return made

    async def call(self, payload: bytes) -> bytes:
        """The answer. Raises `EOFError` or `OSError` if the process died, `ValueError` if it is too long."""
        self.batches += 1
        self._writer.write(LENGTH.pack(len(payload)))
        self._writer.write(payload)
        await self._writer.drain()
        (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
        if length > MAX_ANSWER_BYTES:
            raise ValueError(f"{length} bytes")
        return await self._reader.readexactly(length)

    async def _close_after_exit(self) -> None:
        """Close the socket when the process has ended. A forked process may still hold the other end."""
        await self.process.wait()
        await asyncio.sleep(LAST_ANSWER_WAIT_S)
        self._writer.transport.abort()

    def kill(self) -> None:
        """Kill the process and all processes in its group that the user's function has started."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    async def end(self, patience_s: float = 0.0) -> str:
        """End the process, by force after `patience_s`; returns how it ended."""
        with suppress(OSError, RuntimeError):  # closed already
            self._writer.write_eof()
        try:
            async with asyncio.timeout(patience_s):
                await self.process.wait()
        except TimeoutError:
            self.kill()
            await self.process.wait()
        self._watch.cancel()
        self._writer.transport.abort()
        code = self.process.returncode or 0
        return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
