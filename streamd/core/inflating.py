"""The content of a compressed stream, in pieces of bounded size."""

import zlib
from collections.abc import Callable
from typing import Protocol

from streamd.core.errors import BadData
from streamd.core.zstd_frames import ZstdFrame

PIECE_BYTES = 65536
"""Most bytes of a piece."""
_STEP = 4096
"""Compressed bytes that are given to a member at once. What it does not take is copied, so this is small."""
_MOST_MEMBERS = 16
"""Members that end in one piece. Empty ones cost time and have no content."""


class _Member(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def read(self, data: bytes, most_bytes: int) -> bytes: ...


class Inflating:
    """Decompresses a stream of gzip (RFC 1952), zlib (RFC 1950) or zstd (RFC 8878). Members are joined.

    `feed` takes what was received, and `next` returns the content piece by piece, however small the bytes are
    that a piece was compressed to. Content is returned before its checksum is known, which is behind it.

    Content of the last 4 KiB of compressed bytes before a fault is not returned.

    Memory: what was fed, one piece, and the window of the format: 32 KiB, of zstd at most 8 MiB. A call
    of `next` takes time for one piece.
    """

    def __init__(self, compression: str) -> None:
        self._new_member = _NEW_MEMBER[compression]
        self._padding = b"\0" if compression == "gzip" else b""
        self._has_begun = False
        self._member: _Member | None = None
        self._data = b""
        self._at = 0
        self._step_bytes = 0
        """What the member was given last, as long as it has not returned all content of it."""
        self._bad: BadData | None = None

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._data, self._at = self._data[self._at :] + data, 0

    @property
    def pending(self) -> bool:
        """Whether `next` has something to do without more bytes."""
        if self._bad is not None or self._at < len(self._data):
            return True
        return self._member is not None and not self._member.needs_input

    @property
    def waiting_bytes(self) -> int:
        """How many of the fed bytes may have content that was not returned yet."""
        return len(self._data) - self._at + self._step_bytes

    def next(self) -> bytes:
        """The next piece of the content; may be empty. Raises `BadData` behind the content before a fault.

        The reasons are `compressed:syntax`, and `compressed:window` for zstd with a larger window.
        """
        if self._bad is not None:
            raise self._bad
        parts: list[bytes] = []
        room = PIECE_BYTES
        ended = 0
        try:
            while room and ended < _MOST_MEMBERS and self.pending:
                part = self._read(room)
                ended += self._member is None
                room -= len(part)
                parts.append(part)
        except BadData as bad:
            if room == PIECE_BYTES:
                raise
            self._bad = bad
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def is_inside(self) -> bool:
        """Whether a member has begun and not ended."""
        return self._member is not None

    def end(self) -> None:
        """Raises `BadData` (`compressed:incomplete`) if the stream has ended inside a member."""
        if self.is_inside:
            raise BadData("compressed:incomplete", "cut off before its end")

    def _read(self, room: int) -> bytes:
        """Content of at most so many bytes."""
        member = self._member
        if member is None:
            if self._has_begun and self._padding and self._skip_padding():
                return b""
            member = self._member = self._new_member()
            self._has_begun = True
        step = b""
        if member.needs_input:
            step = self._data[self._at : self._at + _STEP]
            self._step_bytes = len(step)
            self._at += len(step)
        try:
            part = member.read(step, room)
        except zlib.error as error:
            raise BadData("compressed:syntax", str(error).rpartition(": ")[2]) from None
        if member.eof:
            self._give_back(member.unused_data)
            self._member = None
        if self._member is None or member.needs_input:
            self._step_bytes = 0
        return part

    def _skip_padding(self) -> bool:
        """Skip NULs behind a member of gzip, with which tools fill blocks. True if nothing else is left."""
        if self._data.startswith(self._padding, self._at):
            self._data, self._at = self._data[self._at :].lstrip(self._padding), 0
        return self._at == len(self._data)

    def _give_back(self, unused: bytes) -> None:
        if len(unused) <= self._at:
            self._at -= len(unused)
        else:  # a part of it was fed earlier
            self._data, self._at = unused + self._data[self._at :], 0


class _Deflated:
    """One member of gzip or zlib."""

    def __init__(self, wbits: int) -> None:
        self._member = zlib.decompressobj(wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data

    def read(self, data: bytes, most_bytes: int) -> bytes:
        tail = self._member.unconsumed_tail
        part = self._member.decompress(tail + data if tail else data, most_bytes)
        self.needs_input = not self._member.unconsumed_tail and len(part) < most_bytes
        return part


_NEW_MEMBER: dict[str, Callable[[], _Member]] = {
    "gzip": lambda: _Deflated(16 + zlib.MAX_WBITS),
    "zlib": lambda: _Deflated(zlib.MAX_WBITS),
    "zstd": ZstdFrame,
}
