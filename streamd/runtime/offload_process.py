import asyncio
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Offload, Processed, Step
from streamd.core.errors import describe
from streamd.core.now import Now
from streamd.core.traceback_lines import RaisedElsewhere
from streamd.runtime.offload_errors import Lost
from streamd.runtime.offload_wire import from_extension, pack, portable
from streamd.runtime.offload_worker import LENGTH, REASON_UNSENDABLE, Answer, Fault, Task

Result = TypeVar("Result")

START_TIMEOUT_S = 60.0
"""Longest time in which a worker process imports the user's code, which may load models."""
END_TIMEOUT_S = 1.0
"""Longest time in which a worker process ends by itself after its input is closed."""
LAST_ANSWER_WAIT_S = 0.1
"""Time that is left to read the answer of a process that has ended."""
MAX_ANSWER_BYTES = 1 << 30
"""Longest answer. If a longer one is announced, the user's function has written to the socket."""

_START = "import sys; sys.path[:] = {path!r}; from streamd.runtime.offload_worker import main; main({parent})"


class ProcessExecutor:
    """Runs a step in worker processes, which are started when they are first needed.

    If a worker process hangs, dies or sends an invalid answer, its batch is rejected and the next batch gets
    a new process. The processes end with the daemon, even if it is killed: their socket closes, and the
    kernel kills them when the daemon's thread is gone.
    """

    def __init__(self, step: Step[Any], settings: Offload) -> None:
        self._step = step
        self._settings = settings
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()

    async def run(self, records: list[Record], now: Now) -> Processed:
        sendable, rejects, payload = _encoded(records, now)
        if not sendable:
            return Processed([], rejects=rejects)
        worker = await self._worker()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                answer = await worker.call(payload)
            done, counted = _judged(sendable, answer, now)
        except TimeoutError:
            await self._end(worker)
            text = f"not done after {self._settings.timeout_s:g} s; its process was killed"
            raise Lost("timeout", text) from None
        except (EOFError, OSError):
            raise Lost("worker_died", await self._end(worker)) from None
        except ValueError as error:  # includes the errors of msgspec
            await self._end(worker)
            raise Lost("bad_result", f"the worker process sent an invalid answer: {error}") from None
        except BaseException:
            worker.kill()
            raise
        if worker.batches == self._settings.max_batches:
            await self._end(worker, patience_s=END_TIMEOUT_S)
        else:
            self._idle.append(worker)
        done.rejects += rejects
        for name, reason, n in counted:
            self._step.context.counters.add(name, n, reason)
        return done

    async def call(self, call: Callable[[], Result]) -> Result:
        raise Lost("unsupported", "a step in worker processes has no deadlines and no state")

    async def close(self) -> None:
        workers = list(self._all)
        await asyncio.gather(*(self._end(worker, patience_s=END_TIMEOUT_S) for worker in workers))

    async def _worker(self) -> "_Worker":
        """An idle worker, or a new one."""
        while self._idle:
            worker = self._idle.pop()
            if worker.process.returncode is None:
                return worker
            await self._end(worker)
        starting = asyncio.create_task(self._start())
        try:
            worker = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await starting  # now `close` can end it with the others
            raise
        except OSError as error:
            raise Lost("worker_died", f"the worker process cannot start: {error}") from None
        context = self._step.context
        recipe = (
            type(self._step),
            self._step.config,
            context.name,
            context.pipeline,
            context.base_dir,
            self._step.files(),
        )
        fault: Fault | None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                answer = await worker.call(pickle.dumps(recipe))
            fault = msgspec.msgpack.decode(answer, type=Fault) if answer else None
        except TimeoutError:
            fault = Fault("not ready in time")
        except (EOFError, OSError, ValueError) as error:
            fault = Fault(f"{describe(error)}; {await self._end(worker)}")
        except BaseException:
            worker.kill()
            raise
        if fault is not None:
            await self._end(worker)
            raised = RaisedElsewhere(fault.text, fault.lines) if fault.lines else None
            raise Lost("worker_died", f"the worker process cannot start: {fault.text}", raised, fault.kind)
        worker.batches = 0
        return worker

    async def _start(self) -> "_Worker":
        daemon_end, process_end = socket.socketpair()
        with process_end:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-c",
                    _START.format(path=sys.path, parent=os.getpid()),
                    stdin=process_end.fileno(),
                    stdout=process_end.fileno(),
                    start_new_session=True,  # Ctrl-C is for the daemon, which drains through its workers
                )
            except BaseException:
                daemon_end.close()
                raise
        worker = _Worker(process, *await asyncio.open_unix_connection(sock=daemon_end))
        self._all.add(worker)
        return worker

    async def _end(self, worker: "_Worker", patience_s: float = 0.0) -> str:
        """End a worker, by force after `patience_s`; returns how it ended."""
        self._all.discard(worker)
        return await worker.end(patience_s)


class _Worker:
    """One worker process and its socket.

    The socket is both standard input and output of the process. So anything that the user's function writes
    to these descriptors arrives here, as an invalid answer.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self.batches = 0
        self._reader = reader
        self._writer = writer
        self._watch = asyncio.create_task(self._close_after_exit())

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

    async def end(self, patience_s: float) -> str:
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


def _encoded(records: list[Record], now: Now) -> tuple[list[Record], list[BadRecord], bytes]:
    """The records that can be sent, those that cannot, and the message."""
    try:
        return records, [], pack(Task(records, now.wall_s, now.mono_s))
    except Exception:  # noqa: BLE001 - a record may hold big integers, objects, or itself
        rejects = []
        sendable = []
        sent = []
    for record in records:
        try:
            carried = portable(record)
            pack(carried)
        except Exception as error:  # noqa: BLE001 - the same
            detail = describe(error)[:1000]
            rejects.append(
                BadRecord(record, REASON_UNSENDABLE, detail, kind=f"{REASON_UNSENDABLE}: {detail}")
            )
        else:
            sendable.append(record)
            sent.append(carried)
    return sendable, rejects, pack(Task(sent, now.wall_s, now.mono_s))


def _judged(given: list[Record], payload: bytes, now: Now) -> tuple[Processed, list[tuple[str, str, int]]]:
    """The checked result of a worker, and the counts of its step. Raises `ValueError`."""
    try:
        answer = msgspec.msgpack.decode(payload, type=Answer, ext_hook=from_extension)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if answer.mono_s != now.mono_s:  # a function that forks and returns twice answers twice
        raise ValueError("it belongs to another batch")
    rejects = [
        BadRecord(
            given[bad.index] if 0 <= bad.index < len(given) else bad.record,
            bad.reason,
            bad.detail,
            RaisedElsewhere(bad.detail, bad.traceback) if bad.traceback else None,
            bad.kind,
        )
        for bad in answer.rejects
    ]
    done = Processed(answer.records, answer.filtered, answer.absorbed, answer.emitted, rejects)
    if min(done.filtered, done.absorbed, done.emitted) < 0 or len(given) + done.emitted != (
        len(done.records) + done.filtered + done.absorbed + len(rejects)
    ):
        raise ValueError("the numbers of its records do not add up")
    if any(n < 0 for _, _, n in answer.counters):
        raise ValueError("a counter is negative")
    return done, answer.counters
