"""The systemd journal: each line of the log is one datagram of its native protocol, with priority and fields.

If journald's socket is missing, full or forbidden, lines go to the unit's stderr stream instead. There each
line begins with its priority as `<N>`.
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
"""The numbers of syslog(3) for the levels of the log, most urgent first."""
FIELDS = {key: f"STREAMD_{key.upper()}" for key in ("event", "source", "pipeline", "step", "sink")}
"""Keys of an event that become journal fields, with their field names. No other text becomes a field name."""


def is_journal(fd: int) -> bool:
    """Whether `fd` is the stream to journald that systemd opened for this process (systemd.exec(5))."""
    try:
        there = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


def prefixed(level: str, text: str) -> str:
    """The text with the priority before each line, as journald parses it from a stream (sd-daemon(3))."""
    return "\n".join(f"<{PRIORITIES[level]}>{line}" for line in text.split("\n"))


def datagram(fields: Iterable[tuple[str, str]]) -> bytes:
    """Fields in journald's native protocol. Each value follows its length, so it cannot forge a field."""
    parts: list[bytes] = []
    for name, text in fields:
        value = text.encode("utf-8", "backslashreplace")
        parts += (name.encode("ascii"), b"\n", len(value).to_bytes(8, "little"), value, b"\n")
    return b"".join(parts)


class Journal:
    """Sends lines to journald and never waits. Lines that journald does not accept now go to `stderr`.

    `stderr` counts the lines it loses. `notice` renders the line that reports their number.
    """

    def __init__(self, stderr: Stderr, notice: Callable[[int], str], path: str = SOCKET_PATH) -> None:
        self._stderr = stderr
        self._notice = notice
        self._path = path
        self._socket: socket.socket | None = None
        self._lock = threading.RLock()  # a finalizer may log while this thread holds it

    def close(self) -> None:
        """Close the socket. The next line opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def write(self, level: str, line: str, /, **fields: str) -> None:
        """Write one line, without its line end, and values for keys of `FIELDS`."""
        with self._lock:
            if self._stderr.lost:
                self._report_lost()
            if self._stderr.lost or not self._send(level, line, fields):
                self._stderr.write(prefixed(level, line))

    debug = partialmethod(write, "debug")
    info = partialmethod(write, "info")
    warning = partialmethod(write, "warning")
    error = partialmethod(write, "error")
    critical = partialmethod(write, "critical")

    def _report_lost(self) -> None:
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
