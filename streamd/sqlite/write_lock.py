"""The order in which several processes write to one SQLite file."""

import fcntl
import os
import struct
from pathlib import Path

from streamd.core.errors import EnvironmentFault

BUSY_TIMEOUT_S = 1.0
"""How long a write waits for the lock of another program before it fails."""
SUFFIX = "-lock"
"""The lock file of a database is beside it. It is never the database itself: closing any descriptor of that
file would drop the locks that SQLite has on it."""
_FLOCK = "hhqqi4x"
"""`struct flock` of Linux on 64 bits: type, whence, start, length, process."""
_TURN, _WRITE = 0, 1
"""The bytes that are locked. Data of the file lies elsewhere, but a lock needs none."""
_PID_AT = 16
_PID_BYTES = 16


class WriteLock:
    """Held by one process at a time, for a write transaction.

    A process that waits sleeps in the kernel, while SQLite's own busy handler tries again after 1 to 100 ms.
    The locks belong to the open file (OFD), so the kernel releases them when the process ends in any way.

    There are two locks. Who wants to write first takes the turn, then waits for the write lock, then gives
    the turn back. So the process that has just written cannot take the lock again before one that waits.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + SUFFIX)
        self.held = False
        self._fd: int | None = None

    def open(self) -> None:
        """Make or open the lock file. Raises `EnvironmentFault`."""
        if self._fd is not None:
            return
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise EnvironmentFault(f"cannot open the lock file {self.path}: {error.strerror}") from error

    def acquire(self) -> None:
        """Wait for the lock, as long as another process holds it. Blocks, so call it in a thread."""
        self._set(_TURN, fcntl.F_WRLCK)
        try:
            self._set(_WRITE, fcntl.F_WRLCK)
        finally:
            self._set(_TURN, fcntl.F_UNLCK)
        self.held = True
        os.pwrite(self._opened, str(os.getpid()).encode().ljust(_PID_BYTES), _PID_AT)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let the next process write. Nothing happens if the lock is not held. Never blocks."""
        if self.held:
            self.held = False
            self._set(_WRITE, fcntl.F_UNLCK)

    def holder(self) -> int | None:
        """The process that took the lock last, which holds it while others wait. None if there was none."""
        found = os.pread(self._opened, _PID_BYTES, _PID_AT).strip()
        return int(found) if found.isdigit() else None

    def close(self) -> None:
        """Release the lock and close the file, which stays: another process may wait for it."""
        fd, self._fd, self.held = self._fd, None, False
        if fd is not None:
            os.close(fd)

    @property
    def _opened(self) -> int:
        if self._fd is None:
            raise RuntimeError(f"the lock file {self.path} is not open")
        return self._fd

    def _set(self, byte: int, kind: int) -> None:
        wanted = struct.pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0)
        fcntl.fcntl(self._opened, fcntl.F_OFD_SETLKW, wanted)
