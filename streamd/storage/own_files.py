"""The files of an open database: known again by device and number, and saved when they are taken away."""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from streamd.storage.files import NO_FILE, identity

_SHARED_FIRST, _SHARED_BYTES = 0x40000002, 510
"""The bytes of a database file on which SQLite's locks stand: https://sqlite.org/fileformat.html"""
_FLOCK = "hhqqi4x"
"""`struct flock` of Linux on 64 bits: type, whence, start, length, process."""


class Fault(NamedTuple):
    """Why the database is not where it was: a reason of `SinkError`, and a sentence."""

    reason: str
    why: str


class OwnFiles:
    """A database file, its write-ahead log and the log's index, as this process has opened them.

    SQLite writes on without an error into files that have lost their names, where nobody finds the rows.
    """

    def __init__(self, path: Path) -> None:
        """The three files that are at the path now."""
        self.path = path
        self._log_path, self._index_path = Path(f"{path}-wal"), Path(f"{path}-shm")
        self._database, self._log, self._index = self._identities()
        self._changed_ns = _changed_ns(path)

    @property
    def are_whole(self) -> bool:
        """Whether there are all three, as there are once SQLite has read the file."""
        return NO_FILE not in (self._database, self._log, self._index)

    def fault(self) -> Fault | None:
        """What has been removed or replaced since; None where all is as it was. 4 µs."""
        now = self._identities()
        if now == (self._database, self._log, self._index):
            self._changed_ns = _changed_ns(self.path)
            return None
        for at, was, path, reason in zip(
            now, (self._database, self._log, self._index), (self.path, self._log_path, self._index_path),
            ("moved", "log_removed", "log_removed"), strict=True,
        ):  # fmt: skip
            if at != was:
                what = "removed" if at == NO_FILE else "replaced"
                return Fault(reason, f"{path} was {what} while in use")
        return None

    @property
    def is_removed(self) -> bool:
        """Whether nothing is at the path of the database."""
        return identity(self.path) == NO_FILE

    @property
    def database_is_there(self) -> bool:
        """Whether the database file itself is still at its path."""
        return identity(self.path) == self._database

    @property
    def has_no_other_log(self) -> bool:
        """Whether the file is there and no log but ours: a connection that closes may tidy up by name."""
        return self.database_is_there and identity(self._log_path) in (NO_FILE, self._log)

    def may_be_completed(self, *, just_committed: bool) -> bool:
        """Whether the rows that only our log holds may be written into our database file.

        Not where another program may have written the file since our log was removed: it knows nothing of
        our rows, and pages of two histories make no database. `just_committed`: all was well a commit ago.
        """
        if not self.database_is_there:
            return True  # whoever has it under another name has no log of ours
        log = identity(self._log_path)
        if log not in (NO_FILE, self._log) and self._log_path.stat().st_size:
            return False
        if just_committed or _changed_ns(self.path) == self._changed_ns:
            return True
        # The program that removes the log brings it into the file before. Ours lost its name at that time.
        descriptor = _descriptor(self._log)
        return descriptor is not None and _changed_ns(self.path) <= Path(descriptor).stat().st_ctime_ns

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While inside, a connection that closes is not the last: it deletes nothing by a name we lost.

        A lock of the open file (OFD) is not given up with others of this process. Closing its descriptor
        gives up every lock on the database: nothing of this process may use it any more.
        """
        held = None
        with suppress(OSError):
            if (name := _descriptor(self._database)) is not None:
                held = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
                shared = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, _SHARED_FIRST, _SHARED_BYTES, 0)
                fcntl.fcntl(held, fcntl.F_OFD_SETLK, shared)
        try:
            yield
        finally:
            if held is not None:
                os.close(held)

    def tidy(self, *, saved: bool) -> None:
        """Once nobody has them open: remove what would be taken for a part of the file that is there now."""
        with suppress(OSError):
            if self.database_is_there:
                if (
                    identity(self._log_path) == NO_FILE
                ):  # an index without its log tells of rows that are gone
                    self._index_path.unlink(missing_ok=True)
            elif saved:
                for path, ours in ((self._log_path, self._log), (self._index_path, self._index)):
                    if identity(path) == ours:
                        path.unlink()

    def _identities(self) -> tuple[tuple[int, int], ...]:
        return identity(self.path), identity(self._log_path), identity(self._index_path)


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _descriptor(wanted: tuple[int, int]) -> str | None:
    """The name by which an open file of this process can be reached, also when it has no other any more."""
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 - as strings
        name = f"/proc/self/fd/{number}"
        if identity(Path(name)) == wanted:
            return name
    return None
