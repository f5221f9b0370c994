"""The order in which several processes write to one SQLite file."""

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
_NOTE_AT = 32
_NOTE = struct.Struct("<QQQQq")
"""The number of changes, the log that was left last (device, inode, and where its rows are), and when one of
the processes has written to the database of a lost log (mtime in nanoseconds)."""
_IN_FILE, _BESIDE = 1, 2


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

    @contextmanager
    def turn(self, check: Callable[[], None]) -> Iterator[None]:
        """Hold the lock. `check` is called first, and may raise: what was seen before may have changed."""
        with self:
            check()
            yield

    def release(self) -> None:
        """Let the next process write. Nothing happens if the lock is not held. Never blocks."""
        if self.held:
            self.held = False
            self._set(_WRITE, fcntl.F_UNLCK)

    def holder(self) -> int | None:
        """The process that took the lock last, which holds it while others wait. None if there was none."""
        found = os.pread(self._opened, _PID_BYTES, _PID_AT).strip()
        return int(found) if found.isdigit() else None

    def changes(self) -> int:
        """How often a process has left a log, or has written to the file past the log at its path."""
        return self._note()[0]

    def fate_of(self, log: tuple[int, int], changes: int) -> bool | None:
        """Whether the rows of a log (device, inode) are in the database; None if no process has left it.

        False if they are in a copy, or in a log that was set aside. `changes`: their number when the log was
        opened, because the inode of a deleted log is used again.
        """
        now, device, inode, where, _ = self._note()
        if not where or now == changes or (device, inode) != log:
            return None
        return where == _IN_FILE

    def note_change(self, left: tuple[int, int] | None = None, *, in_file: bool = False) -> None:
        """Make every other process open the file anew before it writes. The caller must hold the lock.

        `left`: the log to which nobody may write any more, and whose rows are safe.
        """
        changes, *_, written_ns = self._note()
        log, where = (0, 0) if left is None else left, 0 if left is None else _IN_FILE if in_file else _BESIDE
        self._set_note(changes + 1, *log, where, written_ns)

    def written_ns(self) -> int:
        """The mtime of the database when one of the processes has last brought a lost log into it."""
        return self._note()[4]

    def note_written(self, mtime_ns: int) -> None:
        """Note such a write. The caller must hold the lock."""
        self._set_note(*self._note()[:4], mtime_ns)

    def close(self) -> None:
        """Release the lock and close the file, which stays: another process may wait for it."""
        fd, self._fd, self.held = self._fd, None, False
        if fd is not None:
            os.close(fd)

    def _note(self) -> tuple[int, int, int, int, int]:
        found = os.pread(self._opened, _NOTE.size, _NOTE_AT).ljust(_NOTE.size, b"\0")
        note: tuple[int, int, int, int, int] = _NOTE.unpack(found)
        return note

    def _set_note(self, *note: int) -> None:
        os.pwrite(self._opened, _NOTE.pack(*note), _NOTE_AT)

    @property
    def _opened(self) -> int:
        if self._fd is None:
            raise RuntimeError(f"the lock file {self.path} is not open")
        return self._fd

    def _set(self, byte: int, kind: int) -> None:
        wanted = struct.pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0)
        fcntl.fcntl(self._opened, fcntl.F_OFD_SETLKW, wanted)
