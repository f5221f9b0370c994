"""The files of an open database: known again by device and number, and saved when they are taken away."""

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from streamd.sqlite.contents import Contents, descriptor
from streamd.sqlite.files import NO_FILE, identity, name_for

_SHARED_FIRST, _SHARED_BYTES = 0x40000002, 510
"""The bytes of a database file on which SQLite's locks stand: https://sqlite.org/fileformat.html"""
_FLOCK = "hhqqi4x"
"""`struct flock` of Linux on 64 bits: type, whence, start, length, process."""
REST_NS = 10**9
"""So long after the last write a database that was written over is opened: a copy takes its time."""


class FileFault(NamedTuple):
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
        real = os.path.realpath(path)  # SQLite follows links before it names the log
        self._log_path, self._index_path = Path(f"{real}-wal"), Path(f"{real}-shm")
        self._database, self._log, self._index = self._identities()
        self._changed_ns = _changed_ns(path)
        self._contents = Contents(self._database, self._log, self._index)
        self._overwritten: FileFault | None = None

    @property
    def are_whole(self) -> bool:
        """Whether there are all three, as there are once SQLite has read the file."""
        return NO_FILE not in (self._database, self._log, self._index)

    def fault(self) -> FileFault | None:
        """What has been removed, replaced or written over since; None where all is as it was. 20 µs."""
        if self._overwritten is not None:
            return self._overwritten
        now = self._identities()
        if now == (self._database, self._log, self._index):
            return self._fault_of_contents()
        for at, was, path, reason in zip(
            now, (self._database, self._log, self._index), (self.path, self._log_path, self._index_path),
            ("moved", "log_removed", "log_removed"), strict=True,
        ):  # fmt: skip
            if at != was:
                what = "removed" if at == NO_FILE else "replaced"
                return FileFault(reason, f"{path} was {what} while in use")
        return None

    def _fault_of_contents(self) -> FileFault | None:
        try:
            database, log = self.path.stat(), self._log_path.stat()
        except OSError:
            return None  # the next look finds it gone
        what = self._contents.overwritten(database, log)
        if what is not None and not self._contents.are_open():
            self._contents, what = Contents(self._database, self._log, self._index), None
        if what is not None:
            name = self.path if what == "database" else self._log_path
            self._overwritten = FileFault(
                "overwritten", f"{name} was written over by another program while in use"
            )
        else:
            self._changed_ns = database.st_mtime_ns
        return self._overwritten

    @property
    def is_overwritten(self) -> bool:
        """Whether what is in the files is not what SQLite has written there."""
        return self._overwritten is not None

    @property
    def is_at_rest(self) -> bool:
        """Whether nobody has written the database for `REST_NS`."""
        return time.time_ns() - _changed_ns(self.path) > REST_NS

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
        if self.is_overwritten:
            return False
        if not self.database_is_there:
            return True  # whoever has it under another name has no log of ours
        log = identity(self._log_path)
        if log not in (NO_FILE, self._log) and self._log_path.stat().st_size:
            return False
        if just_committed or _changed_ns(self.path) == self._changed_ns:
            return True
        # The program that removes the log brings it into the file before. Ours lost its name at that time.
        number = descriptor(self._log)
        return number is not None and _changed_ns(self.path) <= os.fstat(number).st_ctime_ns

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While inside, a connection that closes is not the last: it deletes nothing by a name we lost.

        A lock of the open file (OFD) is not given up with others of this process. Closing its descriptor
        gives up every lock on the database: nothing of this process may use it any more.
        """
        held = None
        with suppress(OSError):
            if (number := descriptor(self._database)) is not None:
                held = os.open(f"/proc/self/fd/{number}", os.O_RDONLY | os.O_CLOEXEC)
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

    def set_log_aside(self) -> Path | None:
        """Once nobody has them open: rename a log that does not belong to what is in the database now."""
        aside = None
        with suppress(OSError):
            if identity(self._log_path) == self._log and self._log_path.stat().st_size:
                aside = name_for(self.path, "overwritten", "-wal")
                self._log_path.rename(aside)
            if identity(self._index_path) == self._index:
                self._index_path.unlink()
        return aside

    def _identities(self) -> tuple[tuple[int, int], ...]:
        return identity(self.path), identity(self._log_path), identity(self._index_path)


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
