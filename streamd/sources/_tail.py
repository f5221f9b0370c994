"""One file that grows, read in pieces, by whatever name it may have later. All of it may block on a disk."""

import errno
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from streamd.sources._position import HEAD_BYTES, Position

READ_BYTES = 65536
"""One piece. What the event loop does with it at once, cutting it into frames, takes less than 1 ms."""
_ROTATED = re.compile(r"[-._]\d[-._\dT]*", re.ASCII)
"""How the name of a rotated file goes on: a number or a date, and nothing that says it is compressed."""
_COMPRESSED = re.compile(_ROTATED.pattern + r"\.(gz|bz2|xz|zst|lz4)", re.ASCII)
"""How it goes on where it is compressed, and therefore not read."""


class Look(NamedTuple):
    """What one look at a file found."""

    rewritten: bool
    """It was cut off or begun anew; `data` is from its beginning."""
    data: bytes
    rotated: bool
    """Nothing follows, and the path leads to another file."""


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

    def skip_rest(self) -> int:
        """Pass over what is in it now; how many bytes that are."""
        rest_bytes = max(0, self.size - self.offset)
        self.seek(self.offset + rest_bytes)
        return rest_bytes

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

    def look(self, path: Path) -> Look:
        """What is new in it, a piece at a time, while `path` is what it should be called."""
        rewritten = self.was_rewritten()
        if rewritten:
            self.seek(0)
        data = self.read()
        return Look(rewritten, data, not data and self.is_no_longer(path))

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

    def successor(self, path: Path) -> "Found":
        """The file that was begun after this one: at `path`, or rotated away too and known by its time."""
        own = os.fstat(self._fd)
        return first_since(own.st_mtime_ns, path, own.st_ino)


class Found(NamedTuple):
    """A file to read, and what is not read in its place."""

    tail: Tail
    missed: bool = False
    """The file read last is gone, or was rewritten."""
    skipped: tuple[Path, ...] = ()
    """Files before it that were compressed before they were read."""


def first_since(time_ns: int, path: Path, but_inode: int = 0) -> Found:
    """The oldest file written to after `time_ns`, by its own time: one rotated away since, else `path`."""
    plain: list[tuple[int, Path]] = []
    compressed: list[tuple[int, Path]] = []
    for candidate in _beside(path):
        try:
            status = candidate.stat()
        except OSError:
            continue
        if status.st_mtime_ns <= time_ns or status.st_ino == but_inode:
            continue
        if _ROTATED.fullmatch(candidate.name, len(path.name)):
            plain.append((status.st_mtime_ns, candidate))
        elif _COMPRESSED.fullmatch(candidate.name, len(path.name)) and not candidate.with_suffix("").exists():
            compressed.append((status.st_mtime_ns, candidate))  # with the plain file beside it it is a copy
    oldest = min(plain, default=None)
    skipped = (file for at_ns, file in sorted(compressed) if oldest is None or at_ns <= oldest[0])
    return Found(Tail(oldest[1] if oldest else path), skipped=tuple(skipped))


def resume(position: Position, path: Path, saved_at_ns: int) -> Found:
    """The file that `position` lies in, at it; else the first that was written to after it was saved."""
    tail = find(position, path)
    if tail is not None:
        return Found(tail)
    found = Found(Tail(path), missed=True)
    if not found.tail.is_no_longer_that_of(position):
        return found
    found.tail.close()
    # What was written to after the position was saved, and rotated away since, is unread.
    return first_since(saved_at_ns, path)._replace(missed=True)


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
