"""Reads a growing file in pieces, even after it was renamed. All calls may block on a disk."""

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

from streamd.core.errors import EnvironmentFault
from streamd.files.position import FINGERPRINT_BYTES, Position, equal

READ_BYTES = 65536
"""Size of one piece. Cutting it into frames blocks the event loop for less than 1 ms."""

_SQLITE = b"SQLite format 3\0"


class Look(NamedTuple):
    """The result of one check of the file: new data, or its state if there is none."""

    data: bytes = b""
    rewritten: bool = False
    """The file was truncated or rewritten. No data was read."""
    nul_bytes: int = 0
    """Number of NUL bytes skipped at its beginning: a hole that a truncation has left."""
    rotated: bool = False
    """There is no new data, and the path leads to another file."""
    missing: bool = False
    """There is no new data, and no file at the path."""
    deleted: bool = False
    """There is no file at the path, and the open file has no other name."""


class Tail:
    """An open file with a read offset. Raises `OSError` if it cannot be opened or is no regular file."""

    def __init__(self, path: Path, *, nul_is_data: bool = False) -> None:
        """`nul_is_data`: NUL bytes at the beginning belong to a frame."""
        self.path = path
        """The path at which it was opened."""
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._fd)
            raise OSError(errno.EINVAL, "it is no regular file")
        self.inode = status.st_ino
        self.device = status.st_dev
        self.offset = 0
        self.head = b""
        self._chunk = b""
        """The bytes of the last read, up to `offset`, together with those before them."""
        self._nul_is_data = nul_is_data
        self._in_hole = not nul_is_data

    @property
    def status(self) -> os.stat_result:
        """The file's current size, times and link count."""
        return os.fstat(self._fd)

    @property
    def before(self) -> bytes:
        """The bytes before the offset, as they were read; at most `FINGERPRINT_BYTES`."""
        return self._chunk[-FINGERPRINT_BYTES:]

    def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes at any offset. Does not move the read offset."""
        return os.pread(self._fd, size, max(0, offset))

    def seek(self, offset: int) -> None:
        """Move the read offset, and take the present bytes before it as already read."""
        self.offset = offset
        self.head = os.pread(self._fd, min(FINGERPRINT_BYTES, offset), 0)
        first = max(0, offset - FINGERPRINT_BYTES)
        self._chunk = os.pread(self._fd, offset - first, first)
        self._in_hole = not self._nul_is_data and self._chunk[-1:] in (b"", b"\0")

    def skip_rest(self) -> int:
        """Move to the present end of the file. Returns the number of bytes skipped."""
        rest_bytes = max(0, self.status.st_size - self.offset)
        self.seek(self.offset + rest_bytes)
        return rest_bytes

    def holds(self, position: Position) -> bool:
        """Whether the file begins with the content read up to `position`, by comparing its fingerprint."""
        head, before, offset = position.head, position.before, position.offset
        return (
            self.status.st_size >= offset
            and equal(head, self.read_at(0, len(head)))
            and equal(before, self.read_at(offset - len(before), len(before)))
        )

    def look(self, path: Path) -> Look:
        """Read the next piece. If there is none, check whether `path` still leads to the file."""
        if self.status.st_size < self.offset or self.read_at(0, len(self.head)) != self.head:
            return Look(rewritten=True)
        data = self.read()
        if data is None:
            return Look(rewritten=True)
        if data:
            return self._without_hole(data) if self._in_hole else Look(data)
        try:
            there = path.stat()
        except FileNotFoundError:
            return Look(missing=True, deleted=self.status.st_nlink == 0)
        return Look(rotated=(there.st_ino, there.st_dev) != (self.inode, self.device))

    def read(self) -> bytes | None:
        """The next bytes, at most `READ_BYTES`; None if the bytes before them are not those read before."""
        before = self.before
        chunk = os.pread(self._fd, len(before) + READ_BYTES, self.offset - len(before))
        if not chunk.startswith(before):
            return None
        data = chunk[len(before) :]
        if data:
            if len(self.head) < FINGERPRINT_BYTES:
                self.head += data[: FINGERPRINT_BYTES - len(self.head)]
            self._chunk = chunk
            self.offset += len(data)
        return data

    def _without_hole(self, data: bytes) -> Look:
        """Skip the NUL bytes at the beginning of `data`, and a hole behind them without reading it."""
        kept = data.lstrip(b"\0")
        nul_bytes = len(data) - len(kept)
        if kept:
            self._in_hole = False
            return Look(kept, nul_bytes=nul_bytes)
        try:
            end = os.lseek(self._fd, self.offset, os.SEEK_DATA)
        except OSError:  # the hole reaches to the end of the file
            end = max(self.offset, self.status.st_size)
        if end > self.offset:
            nul_bytes += end - self.offset
            self.offset = end
            self._chunk = bytes(FINGERPRINT_BYTES)
        return Look(nul_bytes=nul_bytes)

    def position(self, path: str, offset: int) -> Position:
        """The position at `offset`, which must not be beyond the read offset."""
        end = len(self._chunk) - (self.offset - offset)
        before = self._chunk[max(0, end - FINGERPRINT_BYTES) : end] if end > 0 else b""
        return Position(path, self.inode, offset, self.head[:offset], before)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def rehearse(source: str, path: Path) -> None:
    """Raise `EnvironmentFault` if the file exists and cannot be followed."""
    try:
        tail = Tail(path)
    except FileNotFoundError:
        return  # a running source waits for the file
    except OSError as error:
        advice = (
            "the user of the daemon needs to (systemd: SupplementaryGroups=adm for files of that group)"
            if isinstance(error, PermissionError)
            else "a start would wait for a file"
        )
        text = f"source {source}: cannot read {path}: {error.strerror}: {advice}"
        raise EnvironmentFault(text) from None
    try:
        if tail.read_at(0, len(_SQLITE)) == _SQLITE:
            raise EnvironmentFault(f"source {source}: {path} is a SQLite database, not a file of frames")
    finally:
        tail.close()
