"""One file that grows, read in pieces, by whatever name it may have later. All of it may block on a disk."""

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

from streamd.core.errors import EnvironmentFault
from streamd.files.position import FINGERPRINT_BYTES, Position

READ_BYTES = 65536
"""One piece. What the event loop does with it at once, cutting it into frames, takes less than 1 ms."""


_SQLITE = b"SQLite format 3\0"


class Look(NamedTuple):
    """What one look at a file found."""

    data: bytes = b""
    rewritten: bool = False
    """It was cut off or begun anew, and nothing of it was read."""
    nul_bytes: int = 0
    """Bytes passed over at its beginning that hold nothing: a hole that a truncation has left."""
    rotated: bool = False
    """Nothing follows, and the path leads to another file."""
    missing: bool = False
    """Nothing follows, and nothing is at the path."""
    deleted: bool = False
    """Nothing is at the path, and the file has no other name either."""


class Tail:
    """An open file and how far it is read. Raises `OSError` where it cannot be opened or is no file."""

    def __init__(self, path: Path, *, nul_is_data: bool = False) -> None:
        """`nul_is_data`: NUL bytes at the beginning belong to a frame."""
        self.path = path
        """What it was called when it was opened."""
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
        """What was read last, up to `offset`, with what stood before it."""
        self._nul_is_data = nul_is_data
        self._in_hole = not nul_is_data

    @property
    def status(self) -> os.stat_result:
        """Its size, times and number of names now."""
        return os.fstat(self._fd)

    @property
    def before(self) -> bytes:
        """What stands before the offset."""
        return self._chunk[-FINGERPRINT_BYTES:]

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes of it, wherever it is read to."""
        return os.pread(self._fd, size, max(0, offset))

    def seek(self, offset: int) -> None:
        """Read on from `offset`, and take what stands before it as it is now."""
        self.offset = offset
        self.head = os.pread(self._fd, min(FINGERPRINT_BYTES, offset), 0)
        first = max(0, offset - FINGERPRINT_BYTES)
        self._chunk = os.pread(self._fd, offset - first, first)
        self._in_hole = not self._nul_is_data and self._chunk[-1:] in (b"", b"\0")

    def skip_rest(self) -> int:
        """Pass over what is in it now; how many bytes that are."""
        rest_bytes = max(0, self.status.st_size - self.offset)
        self.seek(self.offset + rest_bytes)
        return rest_bytes

    def holds(self, position: Position) -> bool:
        """Whether it begins with what was read up to `position`, as far as its fingerprint tells."""
        head, before, offset = position.head, position.before, position.offset
        return (
            self.status.st_size >= offset
            and self.read_at(0, len(head)) == head
            and self.read_at(offset - len(before), len(before)) == before
        )

    def look(self, path: Path) -> Look:
        """What is new in it, a piece at a time, while `path` is what it should be called."""
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
        """What follows, at most `READ_BYTES`; None where what stands before it is not what was read."""
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
        """What follows the NUL bytes that `data` begins with; a hole is passed over without reading it."""
        kept = data.lstrip(b"\0")
        nul_bytes = len(data) - len(kept)
        if kept:
            self._in_hole = False
            return Look(kept, nul_bytes=nul_bytes)
        try:
            end = os.lseek(self._fd, self.offset, os.SEEK_DATA)
        except OSError:  # nothing but a hole follows
            end = max(self.offset, self.status.st_size)
        if end > self.offset:
            nul_bytes += end - self.offset
            self.offset = end
            self._chunk = bytes(FINGERPRINT_BYTES)
        return Look(nul_bytes=nul_bytes)

    def position(self, path: str, offset: int) -> Position:
        """The place at `offset`, which is read already."""
        end = len(self._chunk) - (self.offset - offset)
        before = self._chunk[max(0, end - FINGERPRINT_BYTES) : end] if end > 0 else b""
        return Position(path, self.inode, offset, self.head[:offset], before)

    def close(self) -> None:
        """Release the file."""
        os.close(self._fd)


def rehearse(source: str, path: Path) -> None:
    """Raise `EnvironmentFault` where a file is there and cannot be followed."""
    try:
        tail = Tail(path)
    except FileNotFoundError:
        return  # it is waited for
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
