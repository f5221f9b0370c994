"""Which files were at a path one after the other, and where to go on. All of it may block on a disk."""

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

from streamd.files.position import CERTAIN_BYTES, FINGERPRINT_BYTES, Around, Position, Sibling
from streamd.files.rotation import Rotated, rotated
from streamd.files.tail import Tail

_DIGEST_BYTES = 256
_MOST_SIBLINGS = 1000
_ATTEMPTS = 5
_COMPRESSED_BYTES = 16384
"""Enough of a compressed file to see how its content begins."""


class Found(NamedTuple):
    """A file to read on in, and what is not read in its place."""

    tail: Tail
    continues: bool = False
    """It goes on in the middle of what was read already: a frame that has begun is not over."""
    missed: bool = False
    """The file read last is gone, or was rewritten."""
    replaced: bool = False
    """The path leads to another file, and the one read last was not renamed by a rotation."""
    copied: Path | None = None
    """A copy of what was read before the file was truncated."""
    skipped: tuple[Path, ...] = ()
    """Files before it that were compressed before they were read."""


class _Entry(NamedTuple):
    path: Path
    inode: int
    device: int
    size: int
    mtime_ns: int
    rotated: Rotated


class Lineage:
    """The files of one path: the one there, and those that rotations have given other names.

    A file is known by its inode, its beginning and the bytes before the position. If no file has the inode,
    or the inode holds another content, the file is known by its content alone. Which file follows another
    one is read from the names that a rotation gives, never from times: a copy, a touched file or another
    program's file is newer too.
    """

    def __init__(self, path: Path, *, nul_is_data: bool = False) -> None:
        self.path = path
        self._nul_is_data = nul_is_data
        self.around: Around | None = None
        """As of the last time the file that is read was seen at the path."""
        self._scanned: tuple[int, int, int] | None = None
        """The file at the path, the folder and its time when it was looked through last."""
        self._fresh: set[int] = set()
        """Inodes of what was put beside the file while it was at the path; it may be a copy of it."""

    def open(self, path: Path | None = None) -> Tail:
        """The file at `path`, at its beginning. Raises `OSError`."""
        return Tail(path or self.path, nul_is_data=self._nul_is_data)

    def leads_to_file_of(self, position: Position) -> bool:
        """Whether the file at the path is certainly that of a position that was saved under another path."""
        try:
            tail = self.open()
        except OSError:
            return False
        try:
            return tail.inode == position.inode and tail.holds(position)
        finally:
            tail.close()

    def resume(self, position: Position, saved_at_ns: int) -> Found:
        """Where to go on after a start. Raises `OSError` where a file cannot be opened or none is there."""
        self.around = position.around
        if position.inode == 0:
            return self._settled(lambda: self._first_unread(position, None, None, saved_at_ns))
        tail = self._under_its_inode(position)
        if tail is not None:
            return Found(tail)
        return self._settled(lambda: self._resume_without(position, saved_at_ns))

    def after(self, tail: Tail) -> Found:
        """The file that came after `tail`, which is read to its end. Raises `OSError` as `resume` does."""
        return self._settled(lambda: self._after(tail))

    def after_truncation(self, tail: Tail) -> Found:
        """Where to go on when `tail` was truncated: in the copy made before, else at its beginning."""
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
        """Note what is beside the path while `tail` (None: nothing) is there; whether anything is new.

        Costs one system call while nothing in the folder was created, renamed or deleted.
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
        """What `choose` finds while nothing is renamed: a rotation takes several steps."""
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
        """Regular files beside the path, under names a rotation gives."""
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
        """The file of the position, whatever it is called now, at the position."""
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
        """The file of the position is gone or was rewritten: go on in a copy, else with what came after."""
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
        """Whether no link on the way to the path leads to another folder now, with other files in it."""
        was = Path(self.around.real_path).parent if self.around is not None else None
        return was == Path(os.path.realpath(self.path)).parent

    def _first_unread(
        self, position: Position, tail: Tail | None, own: Rotated | None, since_ns: int
    ) -> Found:
        """The first file that came after that of the position, which a rotation has called `own`."""
        entries = self._rotated()
        there = {entry.path.name for entry in entries}
        unread = []
        for entry in entries:
            name = entry.rotated
            if (tail and entry.inode == tail.inode) or (name.compressed and name.plain in there):
                continue  # without a tail its inode may be another file's by now
            if own is None:
                # The place of the file among the others is not known: it may be before all of them.
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
        """Whether it was beside the path already while the file read last was there."""
        return self.around is not None and any(
            known.inode == entry.inode
            and known.size <= entry.size
            and known.digest in ("", _digest_of(entry.path, known.size))
            for known in self.around.siblings
        )

    def _is_copy(self, entry: _Entry, position: Position, tail: Tail | None) -> bool:
        """Whether a file holds nothing but what was read of the one before."""
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
        """The longest file beside the path that begins with everything that was read up to the position.

        A file that was there before the one of the position is none, though it begins with the same banner.
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
                    # Of equal ones the counted one was made by a rotation, a dated one perhaps by hand.
                    copies.append((entry.size, entry.rotated.order < (0,), entry))
        return self.open(max(copies)[2].path) if copies else None

    def _may_be_copy(self, entry: _Entry, position: Position) -> bool:
        if self.around is None:
            return _certain(position)
        return position.offset > 0 and (entry.inode in self._fresh or not self._was_there(entry))

    def _compressed_form(self, position: Position) -> Rotated | None:
        """The name under which the file of the position was compressed."""
        for entry in self._rotated():
            if entry.rotated.compressed and position.head and _begins(entry.path, position.head):
                return entry.rotated
        return None


def _certain(position: Position) -> bool:
    return bool(position.before) and position.offset >= CERTAIN_BYTES


def _digest_of(path: Path, size: int) -> str:
    """What a file is known by up to `size`; empty where it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            head = os.pread(file.fileno(), min(_DIGEST_BYTES, size), 0)
            first = max(0, size - _DIGEST_BYTES)
            before = os.pread(file.fileno(), size - first, first)
    except OSError:
        return ""
    return hashlib.blake2b(head + before, digest_size=8).hexdigest()


def _begins(path: Path, head: bytes) -> bool:
    """Whether the content of a compressed file begins with `head`, as far as Python can read it."""
    unpack = {
        ".gz": lambda data: zlib.decompressobj(31).decompress(data),
        ".bz2": lambda data: bz2.BZ2Decompressor().decompress(data),
        ".xz": lambda data: lzma.LZMADecompressor().decompress(data),
    }.get(path.suffix)
    if unpack is None:
        return False
    try:
        with path.open("rb") as file:
            return unpack(file.read(_COMPRESSED_BYTES)).startswith(head)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return False
