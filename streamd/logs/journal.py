"""The systemd journal: a line of the log as one datagram of its native protocol, with priority and fields.

The stream that a unit has as stderr takes a line and, before it, `<N>` for its priority. That is what remains
where journald's socket is gone, does not take the datagram at once, or is refused to us.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partialmethod

from streamd.logs.stderr import Stderr

SOCKET_PATH = "/run/systemd/journal/socket"
IDENTIFIER = "streamd"
PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""The numbers of syslog(3) for our levels, most urgent first."""
FIELDS = {key: f"STREAMD_{key.upper()}" for key in ("event", "source", "pipeline", "step", "sink")}
"""What of an event is a field in the journal too, and its name there. Nothing else gives a name."""


def is_journal(fd: int) -> bool:
    """Whether `fd` is the stream to journald that systemd made for this process (systemd.exec(5))."""
    try:
        there = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


def prefixed(level: str, text: str) -> str:
    """The text with the level before each of its lines, as journald reads it from a stream (sd-daemon(3))."""
    return "\n".join(f"<{PRIORITIES[level]}>{line}" for line in text.split("\n"))


def datagram(fields: Iterable[tuple[str, str]]) -> bytes:
    """Fields in the native protocol, each with its length before it, so that no value can begin another."""
    parts: list[bytes] = []
    for name, text in fields:
        value = text.encode("utf-8", "backslashreplace")
        parts += (name.encode("ascii"), b"\n", len(value).to_bytes(8, "little"), value, b"\n")
    return b"".join(parts)


class Journal:
    """Sends lines to journald and never waits for it; those it does not take now go to `stderr`.

    What `stderr` loses it counts; `notice` makes the line that tells the number.
    """

    def __init__(self, stderr: Stderr, notice: Callable[[int], str], path: str = SOCKET_PATH) -> None:
        self._stderr = stderr
        self._notice = notice
        self._path = path
        self._socket: socket.socket | None = None
        self._lock = threading.RLock()  # a finalizer that logs may come in while it is held

    def close(self) -> None:
        """Give the socket back; the next line opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def write(self, level: str, line: str, /, **fields: str) -> None:
        """One line without its end, and values for the keys of `FIELDS`."""
        with self._lock:
            if self._stderr.lost:
                self._tell_lost()
            if self._stderr.lost or not self._send(level, line, fields):
                self._stderr.write(prefixed(level, line))

    debug = partialmethod(write, "debug")
    info = partialmethod(write, "info")
    warning = partialmethod(write, "warning")
    error = partialmethod(write, "error")
    critical = partialmethod(write, "critical")

    def _tell_lost(self) -> None:
        lost, self._stderr.lost = self._stderr.lost, 0
        if not self._send("warning", self._notice(lost), {"event": "log_lines_lost"}):
            self._stderr.lost += lost

    def _send(self, level: str, line: str, fields: Mapping[str, str]) -> bool:
        named = [("MESSAGE", line), ("PRIORITY", str(PRIORITIES[level])), ("SYSLOG_IDENTIFIER", IDENTIFIER)]
        named += [(name, fields[key]) for key, name in FIELDS.items() if key in fields]
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto(datagram(named), self._path)
        except OSError:
            return False
        return True
