"""One file that grows, read in pieces, by whatever name it may have later."""

import errno
import os
import re
import stat
from pathlib import Path

from streamd.sources._position import HEAD_BYTES, Position

READ_BYTES = 65536
_ROTATED = re.compile(r"[-._]\d[-._\dT]*", re.ASCII)
"""How the name of a rotated file goes on: a number or a date, and nothing that says it is compressed."""


class Tail:
    """An open file and how far it is read. Raises `OSError` where it cannot be opened or is no file."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._fd)
            raise OSError(errno.EINVAL, "it is no regular file")
        self._inode = status.st_ino
        self._head = b""
        self.offset = 0

    @property
    def size(self) -> int:
        """Bytes in it now."""
        return os.fstat(self._fd).st_size

    def seek(self, offset: int) -> None:
        """Read on from `offset`, and take the beginning as it is now."""
        self.offset = offset
        self._head = os.pread(self._fd, min(HEAD_BYTES, offset), 0)

    def is_at(self, position: Position) -> bool:
        """Whether it is the file of `position`, and nothing was cut off before that."""
        head = bytes.fromhex(position.head)
        return (
            self._inode == position.inode
            and self.size >= position.offset
            and os.pread(self._fd, len(head), 0) == head
        )

    def was_rewritten(self) -> bool:
        """Whether it is shorter than what was read of it, or begins otherwise than it did."""
        return self.size < self.offset or os.pread(self._fd, len(self._head), 0) != self._head

    def is_no_longer(self, path: Path) -> bool:
        """Whether `path` is another file now; a path that is gone says nothing yet."""
        try:
            return path.stat().st_ino != self._inode
        except FileNotFoundError:
            return False

    def is_no_longer_that_of(self, position: Position) -> bool:
        """Whether it is another file than that of `position`, not the same one rewritten."""
        return self._inode != position.inode

    def read(self) -> bytes:
        """What follows, at most `READ_BYTES`; nothing at the end."""
        data = os.pread(self._fd, READ_BYTES, self.offset)
        if len(self._head) < HEAD_BYTES:
            self._head += data[: HEAD_BYTES - len(self._head)]
        self.offset += len(data)
        return data

    def position(self, path: str, offset: int) -> Position:
        """The place at `offset`, which is read already."""
        return Position(path, self._inode, offset, self._head[:offset].hex())

    def close(self) -> None:
        """Release the file."""
        os.close(self._fd)

    def successor(self, path: Path) -> "Tail":
        """The file that was begun after this one: at `path`, or rotated away too and known by its time."""
        own = os.fstat(self._fd)
        return first_since(own.st_mtime_ns, path, own.st_ino)


def first_since(time_ns: int, path: Path, but_inode: int = 0) -> Tail:
    """The oldest file written to after `time_ns`, by its own time: one rotated away since, else `path`."""
    later: list[tuple[int, Path]] = []
    for candidate in _beside(path):
        try:
            status = candidate.stat()
        except OSError:
            continue
        plain = _ROTATED.fullmatch(candidate.name, len(path.name))
        if plain and status.st_mtime_ns > time_ns and status.st_ino != but_inode:
            later.append((status.st_mtime_ns, candidate))
    return Tail(min(later)[1] if later else path)


def find(position: Position, path: Path) -> Tail | None:
    """The file that `position` lies in: at `path`, or beside it under a name a rotation gave it."""
    for candidate in [path, *_beside(path)]:
        try:
            if candidate.stat().st_ino != position.inode:
                continue
            tail = Tail(candidate)
        except OSError:
            continue
        if tail.is_at(position):
            tail.seek(position.offset)
            return tail
        tail.close()
    return None


def _beside(path: Path) -> list[Path]:
    """What rotations may have called earlier files: the name with something behind it."""
    name = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path.name)
    return sorted(path.parent.glob(f"{name}?*"))
