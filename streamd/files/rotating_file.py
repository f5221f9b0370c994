"""Appends to a file of lines, rotates it by size and by period, and repairs a torn last line at open.

All calls block, so they run on a thread of their own.
"""

import contextlib
import errno
import fcntl
import gzip
import os
import re
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import structlog

from streamd.core.counters import Counters
from streamd.core.errors import SinkError
from streamd.core.trial_paths import try_access, try_file
from streamd.files.dated import DatedPath, is_dated
from streamd.files.torn_end import end_of_last_line

log = structlog.get_logger()

_REASONS = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EACCES: "readonly",
    errno.EPERM: "readonly",
    errno.EROFS: "readonly",
}
_NUMBERED = re.compile(r"(.+)\.(\d{6,})(\.gz)?", re.ASCII)
_BLOCK_BYTES = 2**20
_ANY_TIME = datetime(1, 1, 1, tzinfo=UTC)


def fault(path: Path, error: OSError) -> SinkError:
    """The `SinkError` for an `OSError`: a retry may succeed."""
    return SinkError(_REASONS.get(error.errno or 0, "io"), f"{path}: {error.strerror}")


class RotatingFile:
    """Appends data to the file of its time. A write is in the file as a whole or not at all.

    A full file is renamed to `<name>.000001` and so on. Counts `files_rotated`, `files_removed` and
    `torn_bytes`: the bytes of an incomplete last line, left by a crash, that were cut off.
    """

    def __init__(
        self,
        pattern: Path,
        counters: Counters,
        *,
        header: bytes = b"",
        begins: bytes = b"",
        quoted: bool = False,
        max_size_bytes: int | None,
        keep: int | None,
        compress: bool,
        synchronous: bool,
    ) -> None:
        """`header` is the first line of every file, or `begins` are the first bytes of every line.

        A file that begins otherwise is refused. If `quoted`, a line end between double quotes ends no line.
        """
        self._pattern = pattern
        self._dated = DatedPath(pattern) if is_dated(pattern) else None
        self._counters = counters
        self._header = header
        self._begins = header or begins
        self._quoted = quoted
        self._max_size_bytes = max_size_bytes
        self._keep = keep
        self._compress = compress
        self._synchronous = synchronous
        self._path: Path | None = None
        self._fd = -1
        self._lock = threading.Lock()
        """Held while files are renamed, so that `tidy` never takes the open file for a finished one."""
        self._torn_at: int | None = None
        """Offset at which a failed write began that is not undone yet."""
        self.stopping = False

    def path_at(self, wall_s: float) -> Path:
        """The file for this time."""
        if self._dated is None:
            return self._pattern
        return self._dated.file_of(datetime.fromtimestamp(wall_s, UTC))

    def open(self, wall_s: float) -> None:
        """Repair and set aside files of earlier runs, and open the current one. Raises `SinkError`."""
        path = self.path_at(wall_s)
        with self._lock:
            self._switch_to(path)
            for other in self._others() if self._compress else []:
                if _NUMBERED.fullmatch(other.name) is None and self._is_earlier(other, path):
                    self._switch_to(other)  # repairs its last line
                    self._set_aside(other)
            self._switch_to(path)

    def rehearse(self, wall_s: float) -> None:
        """Raise the `SinkError` that `open` would, and make, lock and cut nothing."""
        path = self.path_at(wall_s)
        held: SinkError | None = None
        try:
            unfinished = self._others() if self._compress and path.parent.is_dir() else []
            for other in unfinished:
                if _NUMBERED.fullmatch(other.name) is None and self._is_earlier(other, path):
                    held = self._check_file(other) or held
        except OSError as error:
            raise fault(path, error) from None
        held = self._check_file(path) or held
        if held is not None:
            raise held

    def _check_file(self, path: Path) -> SinkError | None:
        """Raise `SinkError` if the file cannot be written. The error for a held lock is returned instead."""
        try:
            if try_file(path) is None:
                return None
            if self._synchronous:
                try_access(path.parent, os.R_OK)
            if not stat.S_ISREG(path.stat(follow_symlinks=False).st_mode):
                raise _no_file(path)
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise fault(path, error) from None
        try:
            self._beginning(fd, path)
            self._claim(fd, path)
        except SinkError as error:
            if error.reason != "locked":
                raise
            return error
        finally:
            os.close(fd)  # also releases the lock
        return None

    def write(self, data: bytes, wall_s: float) -> bool:
        """Append the data. True if a file was finished. Raises `SinkError`; nothing is appended then."""
        path = self.path_at(wall_s)
        try:
            with self._lock:
                return self._write(data, path)
        except OSError as error:
            raise fault(path, error) from None

    def _write(self, data: bytes, path: Path) -> bool:
        finished = False
        if self._path is not None and path != self._path:
            finished = self._leave(path)
        if self._fd < 0 or not self._is_where_it_was():
            self._switch_to(path)
        size = self._undo_failed_write()
        full = self._max_size_bytes is not None and size + len(data) > self._max_size_bytes
        if full and size > len(self._header):
            self._set_aside(path)
            self._switch_to(path)
            size, finished = 0, True
        self._append(data if size else self._header + data, size)
        return finished

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0 and self._torn_at is not None:
            with contextlib.suppress(OSError):  # the next open cuts the torn line
                self._undo_failed_write()
        self._close()

    def tidy(self) -> None:
        """Delete the oldest files beyond `keep` and compress finished ones. It may take long."""
        try:
            with self._lock:
                others = self._others()
                for path in others[: -self._keep] if self._keep is not None else []:
                    path.unlink()
                    self._counters.add("files_removed")
                    others.remove(path)
            for path in others if self._compress else []:
                if not self.stopping and path.suffix != ".gz" and _NUMBERED.fullmatch(path.name):
                    self._gzip(path)
        except OSError as error:
            log.warning("file_not_tidied", path=str(self._pattern), error=str(error))

    def _append(self, data: bytes, size: int) -> None:
        self._torn_at = size
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            if self._synchronous:
                os.fdatasync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):  # the next attempt undoes the write
                self._undo_failed_write()
            raise
        self._torn_at = None

    def _undo_failed_write(self) -> int:
        """Undo a failed write, if there is one, and return the size of the file."""
        size = os.fstat(self._fd).st_size
        if self._torn_at is not None:
            if size > self._torn_at:
                os.ftruncate(self._fd, self._torn_at)
            size, self._torn_at = min(size, self._torn_at), None
        return size

    def _leave(self, path: Path) -> bool:
        """Close the open file, as `path` is another one. True if its period is over."""
        before = self._path
        self.close()
        if before is None or not self._is_earlier(before, path):
            return False
        if self._compress and before.exists():
            self._set_aside(before)
        return True

    def _is_earlier(self, one: Path, other: Path) -> bool:
        return self._start_of(one) < self._start_of(other)

    def _start_of(self, path: Path) -> datetime:
        """The start of a file's period; without a dated path a constant."""
        start = self._dated.start_of_file(path) if self._dated is not None else _ANY_TIME
        return start or _ANY_TIME

    def _switch_to(self, path: Path) -> None:
        self._close()
        fd = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            fd = os.open(path, flags, 0o640)
            self._claim(fd, path)
            self._mend(fd, path)
            if self._synchronous:
                _sync_folder(path.parent)
            self._fd, self._path, fd = fd, path, -1
        except OSError as error:
            raise fault(path, error) from None
        finally:
            if fd >= 0:
                os.close(fd)

    def _claim(self, fd: int, path: Path) -> None:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise _no_file(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SinkError("locked", f"{path} is being written by another sink or daemon") from None

    def _mend(self, fd: int, path: Path) -> None:
        """Cut off an incomplete last line. Raises `SinkError` for a file that is not of this sink."""
        size = os.fstat(fd).st_size
        end = end_of_last_line(fd, size, quoted=self._quoted) if self._beginning(fd, path) else 0
        if end < size:
            os.ftruncate(fd, end)
            self._counters.add("torn_bytes", size - end)
            log.warning("torn_line_cut", path=str(path), cut_bytes=size - end, size_bytes=end)

    def _beginning(self, fd: int, path: Path) -> bool:
        """Whether the file has its complete first bytes. Raises `SinkError` if it begins otherwise."""
        there = os.pread(fd, len(self._begins), 0)
        if not self._begins.startswith(there):
            raise SinkError(
                "foreign_file",
                f"{path} does not begin like a file of this sink: move it away or name another path",
            )
        return there == self._begins

    def _is_where_it_was(self) -> bool:
        """Whether the path still names the open file. A moved or deleted file is closed and logged."""
        if self._path is None:
            return False
        try:
            there = self._path.stat(follow_symlinks=False)
        except FileNotFoundError:
            there = None
        ours = os.fstat(self._fd)
        if there is not None and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
            return True
        log.warning(
            "file_moved", path=str(self._path), hint="the file was moved or deleted; a new one is begun"
        )
        self.close()
        return False

    def _set_aside(self, path: Path) -> None:
        """Rename the file to the next number, so that only the current file has the plain name."""
        numbers = [
            int(found[2])
            for other in path.parent.iterdir()
            if (found := _NUMBERED.fullmatch(other.name)) and found[1] == path.name
        ]
        path.rename(path.with_name(f"{path.name}.{max(numbers, default=0) + 1:06d}"))
        if self._synchronous:
            _sync_folder(path.parent)
        self._counters.add("files_rotated")

    def _others(self) -> list[Path]:
        """Files of this sink except the open one, oldest first."""
        found: list[tuple[datetime, float, Path]] = []
        for path in self._pattern.parent.iterdir():
            numbered = _NUMBERED.fullmatch(path.name)
            base = path.with_name(numbered[1]) if numbered else path
            if self._dated is not None:
                start = self._dated.start_of_file(base)
            else:
                start = _ANY_TIME if base == self._pattern else None
            if start is not None and path != self._path:
                found.append((start, float(numbered[2]) if numbered else float("inf"), path))
        return [path for *_, path in sorted(found)]

    def _gzip(self, path: Path) -> None:
        """Replace the file by `<name>.gz`. At every moment one of the two is complete."""
        half_made = path.with_name(f"{path.name}.gz.tmp")
        done = path.with_name(f"{path.name}.gz")
        try:
            with path.open("rb") as plain, half_made.open("wb") as raw:
                os.fchmod(raw.fileno(), stat.S_IMODE(os.fstat(plain.fileno()).st_mode))
                with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6) as packed:
                    while not self.stopping and (block := plain.read(_BLOCK_BYTES)):
                        packed.write(block)
                raw.flush()
                os.fsync(raw.fileno())
            if not self.stopping:
                half_made.replace(done)
                _sync_folder(path.parent)
                path.unlink()
        finally:
            half_made.unlink(missing_ok=True)

    def _close(self) -> None:
        fd, self._fd, self._path, self._torn_at = self._fd, -1, None, None
        if fd >= 0:
            os.close(fd)


def _no_file(path: Path) -> SinkError:
    return SinkError("not_a_file", f"{path} is not a regular file: name another path")


def _sync_folder(folder: Path) -> None:
    """Make the names in the folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
