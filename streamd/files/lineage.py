"""Finds the file to read next at a path, through rotations and restarts. All calls may block on a disk."""

import bz2
import contextlib
import errno
import hashlib
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from streamd.files.position import (
    CERTAIN_BYTES,
    FINGERPRINT_BYTES,
    Around,
    Digest,
    Position,
    Sibling,
    equal,
)
from streamd.files.rotation import Rotated, rotated
from streamd.files.tail import Tail

_DIGEST_BYTES = 256
_MOST_SIBLINGS = 1000
_ATTEMPTS = 5
_COMPRESSED_BYTES = 16384
"""Bytes of a compressed file that are enough to decompress the beginning of its content."""


class Found(NamedTuple):
    """The file to go on with, and the files that are not read."""

    tail: Tail
    continues: bool = False
    """Its content continues that of the file read last, so an unfinished frame goes on."""
    missed: bool = False
    """The file read last is gone or was rewritten."""
    replaced: bool = False
    """The path leads to another file, and the file read last was not renamed by a rotation."""
    copied: Path | None = None
    """The copy that was made before the file was truncated."""
    skipped: tuple[Path, ...] = ()
    """Earlier files that were compressed before they were read."""


class _Entry(NamedTuple):
    path: Path
    inode: int
    device: int
    size: int
    mtime_ns: int
    rotated: Rotated


class Lineage:
    """The files of one path: the file at the path, and those that rotations have renamed.

    A file is recognised by its inode, its beginning and the bytes before the position. If no file has the
    inode, or the inode has other content, the file is recognised by its content alone. The order of files
    follows from the names that rotations give, never from times, because a copy, a touched file or another
    program's file may be newer too.
    """

    def __init__(self, path: Path, *, nul_is_data: bool = False) -> None:
        self.path = path
        self._nul_is_data = nul_is_data
        self.around: Around | None = None
        """The files beside the followed one, when it was last seen at the path."""
        self._scanned: tuple[int, int, int] | None = None
        """Inode of the followed file, and inode and mtime of the folder, at the last scan."""
        self._fresh: set[int] = set()
        """Inodes of files that appeared while the followed file was at the path; they may be its copies."""

    def open(self, path: Path | None = None) -> Tail:
        """Open a file (default: the one at the path) at its beginning. Raises `OSError`."""
        return Tail(path or self.path, nul_is_data=self._nul_is_data)

    def leads_to_file_of(self, position: Position) -> bool:
        """True if the file at the path has the inode and content of a position saved for another path."""
        try:
            tail = self.open()
        except OSError:
            return False
        try:
            return tail.inode == position.inode and tail.holds(position)
        finally:
            tail.close()

    def resume(self, position: Position, saved_at_ns: int) -> Found:
        """The file to go on with after a start. Raises `OSError` if it is missing or cannot be opened."""
        self.around = position.around
        if position.inode == 0:
            return self._settled(lambda: self._first_unread(position, None, None, saved_at_ns))
        tail = self._under_its_inode(position)
        if tail is not None:
            return Found(tail)
        return self._settled(lambda: self._resume_without(position, saved_at_ns))

    def after(self, tail: Tail) -> Found:
        """The file that follows `tail`, which was read to its end. Raises `OSError` as `resume` does."""
        return self._settled(lambda: self._after(tail))

    def after_truncation(self, tail: Tail) -> Found:
        """The file to go on with after `tail` was truncated: its copy, or `tail` from its beginning."""
        position = tail.position(str(self.path), tail.offset)
        copy = self._largest_copy(position)
        if copy is None:
            tail.seek(0)
            return Found(tail)
        copy.seek(position.offset)
        if copy.status.st_size > position.offset:
            return Found(copy, continues=True, copied=copy.path)
        found = self._after(copy)  # the copy of a later truncation, or the path
        copy.close()
        return found._replace(copied=copy.path)

    def watch(self, tail: Tail | None) -> bool:
        """Update `around` while `tail` (None: no file) is at the path. True if `around` has changed.

        Costs one system call unless a file was created, renamed or deleted in the folder.
        """
        try:
            folder = self.path.parent.stat()
            inode = tail.inode if tail is not None else 0
            scanned = (inode, folder.st_ino, folder.st_mtime_ns)
            if scanned == self._scanned:
                return False
            siblings = [
                Sibling(entry.inode, entry.size, _digest_of(entry.path, entry.size))
                for entry in self._rotated()
                if entry.inode != inode and entry.size
            ]
            if not self._leads_to(tail):
                return False
        except OSError:
            return False
        known = {sibling.inode for sibling in self.around.siblings} if self.around is not None else set()
        if self._scanned is None or self._scanned[0] != inode:
            self._fresh.clear()
        else:
            self._fresh |= {sibling.inode for sibling in siblings} - known
        self._scanned = scanned
        around = Around(os.path.realpath(self.path), tuple(siblings[:_MOST_SIBLINGS]))
        changed = around != self.around
        self.around = around
        return changed

    def _leads_to(self, tail: Tail | None) -> bool:
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return tail is None
        return tail is not None and (there.st_ino, there.st_dev) == (tail.inode, tail.device)

    def _settled(self, choose: Callable[[], Found]) -> Found:
        """The result of `choose`, repeated while files are renamed: rotations take several steps."""
        for _ in range(_ATTEMPTS):
            before = self._names()
            found = choose()
            if self._names() == before:
                return found
            found.tail.close()
        raise OSError(errno.EAGAIN, "its folder keeps changing")

    def _names(self) -> tuple[object, ...]:
        there = self.path.stat()
        return (there.st_ino, there.st_dev, *((entry.path, entry.inode) for entry in self._rotated()))

    def _rotated(self) -> list[_Entry]:
        """Regular files in the folder whose names a rotation gives."""
        found = []
        for name in sorted(os.listdir(self.path.parent)):  # noqa: PTH208 - names only, no paths
            said = rotated(name, self.path.name)
            if said is None:
                continue
            path = self.path.with_name(name)
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if stat.S_ISREG(status.st_mode):
                    times = (status.st_size, status.st_mtime_ns)
                    found.append(_Entry(path, status.st_ino, status.st_dev, *times, said))
        return found

    def _under_its_inode(self, position: Position) -> Tail | None:
        """The file with the inode and content of the position, under any name, opened at the position."""
        for path in self._with_inode(position):
            try:
                tail = self.open(path)
            except (PermissionError, InterruptedError):
                raise
            except OSError:
                continue
            if tail.inode == position.inode and tail.holds(position):
                tail.seek(position.offset)
                if position.around is not None:
                    self._scanned = (tail.inode, 0, 0)
                return tail
            tail.close()
        return None

    def _with_inode(self, position: Position) -> Iterator[Path]:
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_ino == position.inode:
                yield self.path
        real = Path(position.around.real_path) if position.around is not None else self.path
        for folder in dict.fromkeys((self.path.parent, real.parent)):
            with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
                yield from sorted(Path(entry.path) for entry in entries if entry.inode() == position.inode)

    def _resume_without(self, position: Position, saved_at_ns: int) -> Found:
        """No file has the position's inode and content: go on in a copy, or with the next file."""
        tail = self.open()
        if tail.inode != position.inode and _certain(position) and tail.holds(position):
            tail.seek(position.offset)
            return Found(tail, continues=True, replaced=True)
        tail.close()
        copy = self._largest_copy(position)
        if copy is not None:
            copy.seek(position.offset)
            return Found(copy, continues=True, copied=copy.path)
        own = self._compressed_form(position)
        return self._first_unread(position, None, own, saved_at_ns)._replace(missed=True)

    def _after(self, tail: Tail) -> Found:
        position = tail.position(str(self.path), tail.offset)
        status = tail.status
        own = next(
            (
                entry.rotated
                for entry in self._rotated()
                if (entry.inode, entry.device) == (tail.inode, tail.device)
            ),
            None,
        ) or self._compressed_form(position)
        if own is not None or self._in_same_folder():
            found = self._first_unread(position, tail, own, status.st_mtime_ns)
        else:
            found = Found(self.open())
        if own is not None or found.tail.path != self.path:
            return found
        if _certain(position) and found.tail.holds(position):
            found.tail.seek(position.offset)
            return found._replace(continues=True, replaced=True)
        return found._replace(replaced=True)

    def _in_same_folder(self) -> bool:
        """Whether the real folder of the path is still the same; a link on the way may have changed."""
        was = Path(self.around.real_path).parent if self.around is not None else None
        return was == Path(os.path.realpath(self.path)).parent

    def _first_unread(
        self, position: Position, tail: Tail | None, own: Rotated | None, since_ns: int
    ) -> Found:
        """The first file after that of the position, to which a rotation has given the name `own`."""
        entries = self._rotated()
        there = {entry.path.name for entry in entries}
        unread = []
        for entry in entries:
            name = entry.rotated
            if (tail and entry.inode == tail.inode) or (name.compressed and name.plain in there):
                continue  # without a tail, another file may have reused the inode
            if own is None:
                # The file's place in the order is unknown: it may come before all of these.
                if not name.usual or (
                    (name.compressed or self.around is None) and entry.mtime_ns <= since_ns
                ):
                    continue
            elif name.scheme != own.scheme or name.order <= own.order:
                continue
            if self._was_there(entry) or (not name.compressed and self._is_copy(entry, position, tail)):
                continue
            unread.append(entry)
        unread.sort(key=lambda entry: (entry.rotated.scheme, entry.rotated.order))
        plain = next((n for n, entry in enumerate(unread) if not entry.rotated.compressed), len(unread))
        skipped = tuple(entry.path for entry in unread[:plain])
        return Found(self.open(unread[plain].path if plain < len(unread) else None), skipped=skipped)

    def _was_there(self, entry: _Entry) -> bool:
        """Whether the file already existed beside the path while the file read last was there."""
        return self.around is not None and any(
            known.inode == entry.inode
            and known.size <= entry.size
            and known.digest in ("", _digest_of(entry.path, known.size))
            for known in self.around.siblings
        )

    def _is_copy(self, entry: _Entry, position: Position, tail: Tail | None) -> bool:
        """Whether a file holds only content that was already read from the file before it."""
        if not CERTAIN_BYTES <= entry.size <= position.offset:
            return False
        other = self.open(entry.path)
        try:
            if tail is None:
                return entry.size == position.offset and other.holds(position)
            size = min(entry.size, FINGERPRINT_BYTES)
            return all(other.read_at(at, size) == tail.read_at(at, size) for at in (0, entry.size - size))
        finally:
            other.close()

    def _largest_copy(self, position: Position) -> Tail | None:
        """The longest rotated file that begins with the content read up to the position.

        A file that is older than the position's file is no copy, even if both begin with the same banner.
        """
        copies: list[tuple[int, bool, _Entry]] = []
        for entry in self._rotated():
            if (
                entry.rotated.compressed
                or entry.inode == position.inode
                or not self._may_be_copy(entry, position)
            ):
                continue
            with contextlib.closing(self.open(entry.path)) as tail:
                if tail.holds(position):
                    # Of equally long ones prefer a counted name: a dated copy may have been made by hand.
                    copies.append((entry.size, entry.rotated.order < (0,), entry))
        return self.open(max(copies)[2].path) if copies else None

    def _may_be_copy(self, entry: _Entry, position: Position) -> bool:
        if self.around is None:
            return _certain(position)
        return position.offset > 0 and (entry.inode in self._fresh or not self._was_there(entry))

    def _compressed_form(self, position: Position) -> Rotated | None:
        """The name of the compressed file whose content begins as the position's file does."""
        for entry in self._rotated():
            if entry.rotated.compressed and position.head and _begins(entry.path, position.head):
                return entry.rotated
        return None


def _certain(position: Position) -> bool:
    return bool(position.before) and position.offset >= CERTAIN_BYTES


def _digest_of(path: Path, size: int) -> str:
    """A digest of the file's beginning and of the bytes before `size`; empty if it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            head = os.pread(file.fileno(), min(_DIGEST_BYTES, size), 0)
            first = max(0, size - _DIGEST_BYTES)
            before = os.pread(file.fileno(), size - first, first)
    except OSError:
        return ""
    return hashlib.blake2b(head + before, digest_size=8).hexdigest()


def _begins(path: Path, head: bytes | Digest) -> bool:
    """Whether the content of a compressed file begins with `head`. False for formats unknown to Python."""
    unpack = {
        ".gz": lambda data: zlib.decompressobj(31).decompress(data),
        ".bz2": lambda data: bz2.BZ2Decompressor().decompress(data),
        ".xz": lambda data: lzma.LZMADecompressor().decompress(data),
    }.get(path.suffix)
    if unpack is None:
        return False
    try:
        with path.open("rb") as file:
            return equal(head, unpack(file.read(_COMPRESSED_BYTES))[: len(head)])
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return False
