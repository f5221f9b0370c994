"""The files of an open database, identified by device and inode, and saved if they are removed."""

import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from streamd.sqlite.contents import Contents, descriptor
from streamd.sqlite.files import NO_FILE, identity, name_for
from streamd.sqlite.write_lock import WriteLock

_SHARED_FIRST, _SHARED_BYTES = 0x40000002, 510
"""The range of a database file that SQLite locks for reading: https://sqlite.org/fileformat.html"""
_FLOCK = "hhqqi4x"
"""`struct flock` of Linux on 64 bits: type, whence, start, length, process."""
_PART_BYTES = 2**20
REST_NS = 10**9
"""An overwritten database is opened only this long after its last write, because a copy takes time."""


class FileFault(NamedTuple):
    """A change of the files by another program: the reason of a `SinkError`, and a sentence."""

    reason: str
    why: str


class OwnFiles:
    """A database file, its write-ahead log and the log's index, as this process has opened them.

    They are checked because SQLite writes to deleted or renamed files without an error, and the rows are
    then missing at the path.
    """

    def __init__(self, path: Path, lock: WriteLock | None = None) -> None:
        """Identify the three files that are at the path now. `lock`: if other processes write to them too."""
        self.path = path
        real = os.path.realpath(path)  # SQLite follows links before it names the log
        self._log_path, self._index_path = Path(f"{real}-wal"), Path(f"{real}-shm")
        self._database, self._log, self._index = self._identities()
        self._changed_ns = _changed_ns(path)
        self._contents = Contents(self._database, self._log, self._index)
        self._overwritten: FileFault | None = None
        self._lock = lock
        self._changes = 0 if lock is None else lock.changes()
        self.is_given_back = False
        """Whether a copy of our log is at its path, with all rows."""

    @property
    def are_whole(self) -> bool:
        """Whether all three files exist, as they do once SQLite has read the database."""
        return NO_FILE not in (self._database, self._log, self._index)

    def fault(self) -> FileFault | None:
        """Which file was removed, replaced or overwritten; None if all are unchanged. 20 µs."""
        if self._overwritten is not None:
            return self._overwritten
        now = self._identities()
        if now == (self._database, self._log, self._index):
            if self._is_changed_by_a_process:
                return FileFault("log_removed", f"{self.path} was opened anew by another process")
            return self._fault_of_contents()
        for at, was, path, reason in zip(
            now, (self._database, self._log, self._index), (self.path, self._log_path, self._index_path),
            ("moved", "log_removed", "log_removed"), strict=True,
        ):  # fmt: skip
            if at != was:
                what = "removed" if at == NO_FILE else "replaced"
                return FileFault(reason, f"{path} was {what} while in use")
        return None

    def are_unchanged(self) -> bool:
        """Whether the three files are there, and no other process has changed them past ours. 6 µs.

        Changes nothing, so any thread may call it.
        """
        return (
            self._identities() == (self._database, self._log, self._index)
            and not self._is_changed_by_a_process
        )

    @property
    def _is_changed_by_a_process(self) -> bool:
        return self._lock is not None and self._lock.changes() != self._changes

    @property
    def fate(self) -> bool | None:
        """Whether the rows of our log are in the database, if another process has left this log."""
        return None if self._lock is None else self._lock.fate_of(self._log, self._changes)

    def note_fate(self, *, in_file: bool) -> None:
        """Tell the other processes where the rows of our log are. The caller must hold the write lock."""
        if self._lock is not None and self.fate is None:
            self._lock.note_change(self._log, in_file=in_file)

    def note_checkpoint(self) -> None:
        """Make a process that has opened the file without our log open it anew: its cache will be stale."""
        if self._lock is not None and identity(self._log_path) not in (NO_FILE, self._log):
            self._lock.note_change()
            self._changes = self._lock.changes()

    def _fault_of_contents(self) -> FileFault | None:
        self._contents.begin()
        try:
            database, log = self.path.stat(), self._log_path.stat()
        except OSError:
            return None  # removed just now; the next check finds that
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
        """Whether another program has overwritten the contents of a file."""
        return self._overwritten is not None

    @property
    def is_at_rest(self) -> bool:
        """Whether the database was not written for `REST_NS`."""
        return time.time_ns() - _changed_ns(self.path) > REST_NS

    @property
    def is_removed(self) -> bool:
        """Whether there is no file at the path of the database."""
        return identity(self.path) == NO_FILE

    @property
    def database_is_there(self) -> bool:
        """Whether the database file itself is still at its path."""
        return identity(self.path) == self._database

    @property
    def has_no_other_log(self) -> bool:
        """Whether the file is at its path without a foreign log, which closing would delete by its name."""
        return self.database_is_there and identity(self._log_path) in (NO_FILE, self._log)

    def may_be_completed(self, *, just_committed: bool) -> bool:
        """Whether the rows that only our log holds may be checkpointed into our database file.

        False if another program may have written the file since our log was removed: its pages do not fit
        ours, and the database would be corrupt. `just_committed`: the files were unchanged before the commit.
        """
        if self.is_overwritten:
            return False
        if not self.database_is_there:
            return True  # a program that uses the file under another name does not have our log
        log = identity(self._log_path)
        if log not in (NO_FILE, self._log) and (
            self._log_path.stat().st_size or self._is_changed_by_a_process
        ):
            return False
        changed_ns = _changed_ns(self.path)
        if just_committed or changed_ns == self._changed_ns:
            return True
        if self._lock is not None and changed_ns == self._lock.written_ns():
            return True
        # A program that removes the log first checkpoints it into the file. Removing it sets its ctime.
        number = descriptor(self._log)
        return number is not None and changed_ns <= os.fstat(number).st_ctime_ns

    @property
    def may_still_be_saved(self) -> bool:
        """Whether rows that only our log holds may come into the file at the path: it may come back, or a
        reader of the log may end.
        """
        if self.is_removed:
            return True
        return self.database_is_there and self.may_be_completed(just_committed=False)

    def note_own_write(self) -> None:
        """Note that this process has written to the database file, so that this is no change by another."""
        self._changed_ns = _changed_ns(self.path)
        if self._lock is not None:
            self._lock.note_written(self._changed_ns)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Hold a shared lock, so that a closing connection is not the last and deletes no file by its name.

        The lock belongs to the open file description (OFD), so SQLite cannot drop it together with its own.
        At the end, closing the descriptor drops all locks of this process on the database: no connection of
        this process may use it any more.
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

    def give_log_back(self) -> bool:
        """Put a copy of our log at its path, so that the next connection finds all rows. False if that fails.

        For a log that no checkpoint can complete, because a reader needs its beginning. The reader keeps the
        old one. Blocks while it copies.
        """
        log, new = identity(self._log_path), Path(f"{self._log_path}.new")
        number = descriptor(self._log)
        if number is None or log not in (NO_FILE, self._log) or not self.database_is_there:
            return False
        try:
            mode = stat.S_IMODE(self.path.stat().st_mode)
            with (
                open(f"/proc/self/fd/{number}", "rb") as old,  # noqa: PTH123 - not a path
                open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as copy,  # noqa: PTH123 - as above
            ):
                _copy(old, copy, self._contents.log_bytes)
                copy.flush()
                os.fsync(copy.fileno())
            if identity(self._index_path) == self._index:  # SQLite makes another one of the log
                self._index_path.unlink()
            if log == NO_FILE:
                os.link(new, self._log_path)  # fails if another program has made a log meanwhile
            else:
                new.replace(self._log_path)
        except OSError:
            return False
        finally:
            new.unlink(missing_ok=True)
        self.is_given_back = True
        return True

    def retire(self) -> None:
        """Keep a reader of our log from bringing it into the file later, over what was written since.

        Readers of a file that was moved away may do so: nobody writes to it any more.
        """
        if self.database_is_there:
            self._contents.retire_index()

    def tidy(self, *, saved: bool) -> None:
        """After closing: remove companion files that do not belong to the file now at the path."""
        with suppress(OSError):
            if self.database_is_there:
                if identity(self._log_path) == NO_FILE:  # the index describes a log that is gone
                    self._index_path.unlink(missing_ok=True)
            elif saved:
                for path, ours in ((self._log_path, self._log), (self._index_path, self._index)):
                    if identity(path) == ours:
                        path.unlink()

    def set_log_aside(self) -> Path | None:
        """After closing: rename our log, which does not belong to the database's new contents."""
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


def _copy(old: BinaryIO, new: BinaryIO, size_bytes: int) -> None:
    while size_bytes and (part := old.read(min(size_bytes, _PART_BYTES))):
        new.write(part)
        size_bytes -= len(part)
    if size_bytes:
        raise OSError(errno.EIO, "the log is shorter than its index says")
    new.flush()
    os.fsync(new.fileno())


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
