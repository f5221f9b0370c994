"""Detects that another program has overwritten the contents of an open database's files.

`cp backup.db streamd.db` and `: > streamd.db-wal` change neither names nor inodes. SQLite does not notice
them and continues with its index of the log, so that committed rows are in no file.
"""

import os
import struct
from contextlib import suppress
from typing import NamedTuple

from streamd.sqlite.files import NO_FILE

_INDEX_BYTES = 132
_INDEX = struct.Struct("=14xHI12x8s56xI28xI")
"""Fields of the log's index: page size, frames, salt, frames checkpointed (`nBackfill`) and frames that a
checkpoint has attempted (`nBackfillAttempted`). See https://sqlite.org/walformat.html"""
_FRAMES = struct.Struct("=I")
_IN_FILE_AT, _ATTEMPTED_AT = 96, 128
"""The places of the last two of these fields."""
_HEADER_BYTES = 100
_LOG_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24


class _Index(NamedTuple):
    page_bytes: int
    frames: int
    salt: bytes
    in_file: int
    meant_to_be: int


class Contents:
    """Compares the contents of the files with those of the last check, through SQLite's own descriptors.

    It opens and closes no descriptor. It cannot detect a foreign write between two checks if a checkpoint
    ended in the same time.
    """

    def __init__(self, database: tuple[int, int], log: tuple[int, int], index: tuple[int, int]) -> None:
        self._identities = {"database": database, "log": log, "index": index}
        self._descriptors = {name: descriptor(identity) for name, identity in self._identities.items()}
        self._index = self._read_index()
        """As it was before the last check looked at the size and mtime of the database file."""
        self._index_at_first = self._index
        self._header = self._read("database", _HEADER_BYTES)
        self._written = (0, 0)
        """Size and mtime (nanoseconds) of the database file at the last check."""

    def begin(self) -> None:
        """Call it before `stat` of the files. What a checkpoint writes behind it changes the index. 1 µs."""
        self._index_at_first = self._read_index()

    def overwritten(self, database: os.stat_result, log: os.stat_result) -> str | None:
        """`database` or `log` if another program has overwritten that file, else None. 3 µs.

        Other processes may commit and checkpoint meanwhile, in the right way.
        """
        before = self._read_index()
        if before is None:
            return None
        written = (database.st_size, database.st_mtime_ns)
        if written != self._written:
            if not self._is_by_checkpoint(before) and self._is_other(database.st_size):
                return "database"
            self._written = written
            self._header = self._read("database", _HEADER_BYTES)
        self._index = self._index_at_first
        if before.frames and self._salt() != before.salt and self._is_settled(before):
            return "log"
        least_bytes = _log_bytes(before)
        if before.frames and log.st_size < least_bytes and self._log_is_short(least_bytes, before):
            return "log"
        return None

    @property
    def log_bytes(self) -> int:
        """Length of the part of the log that is in use."""
        now = self._read_index()
        return 0 if now is None else _log_bytes(now)

    def retire_index(self) -> None:
        """Mark all of the log as checkpointed.

        A reader that still uses the log would otherwise checkpoint it when it closes the database as the
        last user, over all that was written since.
        """
        number, now = self._descriptors["index"], self._read_index()
        if number is not None and now is not None and self.are_open():
            with suppress(OSError):
                os.pwrite(number, _FRAMES.pack(now.frames), _ATTEMPTED_AT)
                os.pwrite(number, _FRAMES.pack(now.frames), _IN_FILE_AT)

    def _is_by_checkpoint(self, now: _Index) -> bool:
        was = self._index
        return (
            was is None
            or now.in_file != now.meant_to_be  # a checkpoint is under way
            or (now.salt, now.in_file, now.meant_to_be) != (was.salt, was.in_file, was.meant_to_be)
        )

    def _is_other(self, size_bytes: int) -> bool:
        """Whether the size or the header has changed, and not only the mtime (`touch`)."""
        if self._written == (0, 0):
            return False
        return size_bytes != self._written[0] or self._read("database", _HEADER_BYTES) != self._header

    def _log_is_short(self, least_bytes: int, before: _Index) -> bool:
        """Whether the log is too short now: another process may have added to it since `stat`."""
        number = self._descriptors["log"]
        with suppress(OSError):
            if number is not None and os.fstat(number).st_size >= least_bytes:
                return False
        return self._is_settled(before)

    def _is_settled(self, before: _Index) -> bool:
        """Whether the log was not written since its index was read."""
        return self._read_index() == before

    def _salt(self) -> bytes:
        return self._read("log", 24)[16:]

    def _read_index(self) -> _Index | None:
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
        """Whether the descriptors still belong to the files; SQLite may have opened others since."""
        for name, number in self._descriptors.items():
            try:
                found = os.fstat(-1 if number is None else number)
            except OSError:
                return False
            if (found.st_dev, found.st_ino) != self._identities[name]:
                return False
        return True


def _log_bytes(index: _Index) -> int:
    return _LOG_HEADER_BYTES + index.frames * (index.page_bytes + _FRAME_HEADER_BYTES)


def descriptor(wanted: tuple[int, int]) -> int | None:
    """The descriptor by which this process has a file (device, inode) open, even after it was deleted."""
    if wanted == NO_FILE:
        return None
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 - as strings
        with suppress(OSError):
            found = os.stat(int(number))  # noqa: PTH116 - a descriptor
            if (found.st_dev, found.st_ino) == wanted:
                return int(number)
    return None
