"""Writes lines to standard error without ever blocking the caller."""

import os
import select
import threading
from collections.abc import Callable

_PIPE_CHUNK_BYTES = 4096  # PIPE_BUF of pipe(7): a pipe that polls as writable takes it without blocking


class Stderr:
    """Writes whole lines to a file descriptor and never waits for it.

    A line is lost and counted in `lost` if the descriptor is full, closed or failing. The next line that can
    be written is preceded by a notice with that number. The rest of a partly written line is written first.
    """

    def __init__(self, fd: int, notice: Callable[[int], str]) -> None:
        self.lost = 0
        self._fd = fd
        self._notice = notice
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._lock = threading.RLock()  # a finalizer may warn while this thread holds it
        self._busy = False

    def write(self, line: str) -> None:
        """Write one line, given without its line end."""
        with self._lock:
            if self._busy:
                self.lost += 1
                return
            self._busy = True
            try:
                self._write(line)
            finally:
                self._busy = False

    debug = info = warning = error = critical = write

    def _write(self, line: str) -> None:
        if self._rest:
            self._send(self._rest)
        if self.lost and not self._rest and self._send(self._encode(self._notice(self.lost))):
            self.lost = 0
        if self.lost or self._rest or not self._send(self._encode(line)):
            self.lost += 1

    @staticmethod
    def _encode(line: str) -> bytes:
        return line.encode("utf-8", "backslashreplace") + b"\n"

    def _send(self, data: bytes) -> bool:
        """Whether at least one byte was written. The rest of the line is then in `_rest`."""
        sent = 0
        try:
            while sent < len(data) and self._poll.poll(0):
                sent += os.write(self._fd, data[sent : sent + _PIPE_CHUNK_BYTES])
        except OSError:
            pass  # no reader, no space or no such descriptor: the caller counts the line
        if sent:
            self._rest = data[sent:]
        return sent > 0
