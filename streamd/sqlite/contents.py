"""The contents of an open database's files, as SQLite left them; what another hand wrote there is noticed.

`cp backup.db streamd.db` and `: > streamd.db-wal` leave the names and the inodes as they were. SQLite sees
nothing of it and goes on with its index of the log, so that rows told to be stored are in no file.
"""

import os
import struct
from contextlib import suppress
from typing import NamedTuple

from streamd.sqlite.files import NO_FILE

_INDEX_BYTES = 132
_INDEX = struct.Struct("=14xHI12x8s56xI28xI")
"""Of the log's index: bytes of a page, frames, salt; frames that are in the file, and that are meant to be.
https://sqlite.org/walformat.html"""
_HEADER_BYTES = 100
_LOG_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24


class _Index(NamedTuple):
    page_bytes: int
    frames: int
    salt: bytes
    in_file: int
    meant_to_be: int


class Contents:
    """Reads through the descriptors that SQLite has open: none is opened, and none is closed.

    A checkpoint that ends between two looks hides what else was written into the file meanwhile.
    """

    def __init__(self, database: tuple[int, int], log: tuple[int, int], index: tuple[int, int]) -> None:
        self._identities = {"database": database, "log": log, "index": index}
        self._descriptors = {name: descriptor(identity) for name, identity in self._identities.items()}
        self._index = self._look_into_index()
        self._header = self._read("database", _HEADER_BYTES)
        self._written = (0, 0)
        """Size and time of change of the database file."""

    def overwritten(self, database: os.stat_result, log: os.stat_result) -> str | None:
        """`database` or `log`, whichever has contents of others; None where all is as it was. 3 µs."""
        before = self._look_into_index()
        if before is None:
            return None
        written = (database.st_size, database.st_mtime_ns)
        if written != self._written:
            if not self._is_by_checkpoint(before) and self._is_other(database.st_size):
                return "database"
            self._written = written
            self._header = self._read("database", _HEADER_BYTES)
        self._index = before
        if before.frames and self._salt() != before.salt and self._is_settled(before):
            return "log"
        least_bytes = _LOG_HEADER_BYTES + before.frames * (before.page_bytes + _FRAME_HEADER_BYTES)
        if before.frames and log.st_size < least_bytes and self._is_settled(before):
            return "log"
        return None

    def _is_by_checkpoint(self, now: _Index) -> bool:
        was = self._index
        return (
            was is None
            or now.in_file != now.meant_to_be  # one is under way
            or (now.salt, now.in_file, now.meant_to_be) != (was.salt, was.in_file, was.meant_to_be)
        )

    def _is_other(self, size_bytes: int) -> bool:
        """Not so where `touch` has changed the time."""
        if self._written == (0, 0):
            return False
        return size_bytes != self._written[0] or self._read("database", _HEADER_BYTES) != self._header

    def _is_settled(self, before: _Index) -> bool:
        """Whether nobody has written the log since the look at its index."""
        return self._look_into_index() == before

    def _salt(self) -> bytes:
        return self._read("log", 24)[16:]

    def _look_into_index(self) -> _Index | None:
        found = self._read("index", _INDEX_BYTES)
        if len(found) < _INDEX_BYTES:
            return None
        page_bytes, *others = _INDEX.unpack(found)
        return _Index(65536 if page_bytes == 1 else page_bytes, *others)

    def _read(self, name: str, size_bytes: int) -> bytes:
        number = self._descriptors[name]
        if number is None:
            return b""
        with suppress(OSError):
            return os.pread(number, size_bytes, 0)
        return b""

    def are_open(self) -> bool:
        """Whether the descriptors are still those of the files; SQLite may have others for them now."""
        for name, number in self._descriptors.items():
            try:
                found = os.fstat(-1 if number is None else number)
            except OSError:
                return False
            if (found.st_dev, found.st_ino) != self._identities[name]:
                return False
        return True


def descriptor(wanted: tuple[int, int]) -> int | None:
    """An open file of this process, also where it has no name any more."""
    if wanted == NO_FILE:
        return None
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 - as strings
        with suppress(OSError):
            found = os.stat(int(number))  # noqa: PTH116 - a descriptor
            if (found.st_dev, found.st_ino) == wanted:
                return int(number)
    return None
