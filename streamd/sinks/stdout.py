"""Prints records as lines on standard output."""

import asyncio
import ctypes
import errno
import os
import select
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog

from streamd.core.batch import Batch
from streamd.core.contracts import Sink, SinkContext, Written
from streamd.core.errors import EnvironmentFault, SinkError
from streamd.core.settings import EncodedSettings, Settings
from streamd.encoders.json import Json
from streamd.encoding.lines import Lines, Prepared
from streamd.encoding.separated import Separated

log = structlog.get_logger()

_AT_ONCE_BYTES = select.PIPE_BUF
"""A writable pipe has room for this many bytes, so a write of this size never blocks."""
_SLICE_MS = 100
"""Longest wait for a reader in one call, because the daemon's end waits for the thread."""
_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EBADF, errno.ENOTCONN})


class _StandardOutput:
    """The process's standard output, reserved for the sinks from the first `take` to the last `give_back`.

    The sinks write to a duplicate of descriptor 1. Meanwhile descriptor 1 points to standard error.
    """

    def __init__(self) -> None:
        self._fd = -1
        self._takers = 0

    def take(self) -> int:
        """The descriptor to write to. Raises `EnvironmentFault`."""
        if not self._takers:
            try:
                self._fd = os.dup(1)
                os.dup2(2, 1)
            except OSError as error:
                raise _not_taken(error) from None
        self._takers += 1
        return self._fd

    def rehearse(self) -> None:
        """Raise what `take` would, and change nothing."""
        try:
            os.fstat(1)
            os.fstat(2)
        except OSError as error:
            raise _not_taken(error) from None

    def give_back(self) -> None:
        """Undo one `take`. The last one first flushes text buffered by Python and C to standard error."""
        self._takers -= 1
        if self._takers:
            return
        with suppress(OSError, ValueError, AttributeError):  # closed, or there is none
            sys.stdout.flush()
        ctypes.CDLL(None).fflush(None)
        os.dup2(self._fd, 1)
        os.close(self._fd)


def _not_taken(error: OSError) -> EnvironmentFault:
    return EnvironmentFault(f"cannot take standard output: {error.strerror}; is it open?")


_OUTPUT = _StandardOutput()


class Stdout(Sink["Stdout.Config"]):
    """Prints each record as one line on standard output: as JSON, or as `encoder` says. Logs and books go to
    standard error, and so does the output of steps, libraries and programs that they start.

    A slow reader fills this sink's buffer, and `when_full` decides what happens then. If the reader closes
    standard output (`| head`), that is logged once, the other sinks continue, and records for this sink are
    counted as dropped with the reason `closed`.

    A flagged record (`truncated`, `unterminated`) has its flag as `_flag`.
    """

    why_one_process = "lines of several writers would be mixed in a pipe"

    class Config(EncodedSettings):
        """Settings of a stdout sink."""

    config: "Stdout.Config"

    def __init__(self, config: Config, context: SinkContext) -> None:
        super().__init__(config, context)
        metadata = self.config.metadata
        separated = Separated(context.encoder or Json(Settings()), None, add_metadata=metadata)
        self._lines = Lines(context, separated.encode, add_metadata=metadata)
        self._header = separated.header
        """What is printed before the first line; empty once it is out."""
        self._fd = -1
        self._sent_bytes = 0
        """How many bytes of the batches being written are already out; a retry continues behind them."""
        self._closed = False
        self._thread: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Take standard output for the sinks. Raises `EnvironmentFault`."""
        self._fd = _OUTPUT.take()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sink-{self.context.name}")

    def rehearse(self) -> list[str]:
        """Check that standard output is open. Raises `EnvironmentFault`."""
        _OUTPUT.rehearse()
        return []

    async def close(self) -> None:
        """Give standard output back once the thread has ended its current write (at most 0.1 s)."""
        if self._thread is None:
            return
        thread, self._thread = self._thread, None
        # On the thread, after its last write: the number of a closed descriptor is soon used by another file.
        giving_back = asyncio.get_running_loop().run_in_executor(thread, _OUTPUT.give_back)
        thread.shutdown(wait=False)
        await giving_back

    @property
    def progress(self) -> int:
        """The bytes of the write under way that the reader has taken."""
        return self._sent_bytes

    async def write(self, batches: Sequence[Batch]) -> Written:
        """Return once the kernel has accepted every line. Raises `SinkError` if a retry may succeed."""
        if self._closed:
            written = Written.whole(len(batches))
            written.dropped = [dict.fromkeys(range(len(batch)), "closed") for batch in batches]
            return written
        prepared = await self._lines.of(batches)
        data = memoryview(b"".join([self._header, *prepared.lines] if prepared.lines else []))
        loop = asyncio.get_running_loop()
        while self._sent_bytes < len(data):
            try:
                sent = await loop.run_in_executor(self._thread, self._write_some, data[self._sent_bytes :])
            except OSError as error:
                if error.errno not in _GONE:
                    raise SinkError("io", f"standard output: {error.strerror}") from None
                return self._give_up(prepared)
            self._sent_bytes += sent
        if data:
            self._header = b""
        self._sent_bytes = 0
        self._lines.forget()
        return prepared.written()

    def _write_some(self, data: memoryview) -> int:
        """Write for one slice of time and return the bytes written. On the thread: a terminal may block."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        sent = 0
        while sent < len(data) and poll.poll(0 if sent else _SLICE_MS):
            try:
                sent += os.write(self._fd, data[sent : sent + _AT_ONCE_BYTES])
            except BlockingIOError:  # the descriptor is non-blocking, and another process filled the pipe
                break
            except OSError:
                if sent:
                    break  # the next call raises the error again
                raise
        return sent

    def _give_up(self, prepared: Prepared) -> Written:
        """The reader has closed: lines already written whole are stored, all others are dropped."""
        self._closed = True
        log.error(
            "stdout_closed",
            sink=self.context.name,
            hint="the reader closed standard output; further records for it are dropped and counted",
        )
        left = self._sent_bytes - len(self._header)
        out = 0
        for line in prepared.lines:
            left -= len(line)
            if left < 0:
                break
            out += 1
        self._lines.forget()
        return prepared.written(dict.fromkeys(range(out, len(prepared.lines)), "closed"))
