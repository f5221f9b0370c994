"""The content of bytes that gzip, zlib or zstd has compressed, up to a limit."""

import zlib

from streamd.core.errors import BadData
from streamd.core.inflating import Inflating

_GZIP = b"\x1f\x8b"
_DEFLATE = 0x78
"""The first byte of zlib (RFC 1950) with the usual window of 32 KiB."""
_PIECE = 4096
"""The compressed bytes that are read at once. What lies behind a member is copied, so this is small."""


def is_compressed(data: bytes) -> bool:
    """Whether the data begins like gzip (RFC 1952) or zlib (RFC 1950).

    The first two bytes of zlib, as a number, are a multiple of 31.
    """
    return data.startswith(_GZIP) or (
        len(data) > 1 and data[0] == _DEFLATE and int.from_bytes(data[:2]) % 31 == 0
    )


def inflate(data: bytes, most_bytes: int) -> bytes:
    """The content of data for which `is_compressed` is True. Several members of gzip are joined.

    Raises `BadData` with `compressed:size` as soon as the content is longer than `most_bytes`, and with
    `compressed:syntax` if the data is no valid gzip or zlib, is cut off, or has other bytes behind its end.
    Takes time in proportion to the data and its content, and memory for twice the content.
    """
    if not data.startswith(_GZIP):
        return _inflate_zlib(data, most_bytes)
    parts: list[bytes] = []
    size = at = 0
    while data.startswith(_GZIP, at):
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        while not member.eof:
            piece = data[at : at + _PIECE]
            if not piece:
                raise BadData("compressed:syntax", "cut off before its end")
            part = _read(member, piece, most_bytes - size)
            size += len(part)
            parts.append(part)
            at += len(piece) - len(member.unused_data)
    if data[at:].strip(b"\0"):  # RFC 1952 knows no padding, but tools fill blocks with NUL
        raise BadData("compressed:syntax", "other bytes behind its end")
    return b"".join(parts)


def inflate_zstd(data: bytes, most_bytes: int) -> bytes:
    """The content of frames of zstd, with the errors of `inflate`.

    `compressed:window` is the reason if a frame needs more than 8 MiB of memory to be read.
    """
    inflating = Inflating("zstd")
    inflating.feed(data)
    parts: list[bytes] = []
    size = 0
    while inflating.pending:
        parts.append(inflating.next())
        size += len(parts[-1])
        if size > most_bytes:
            raise BadData("compressed:size", "its content is longer than allowed")
    if not data or inflating.is_inside:
        raise BadData("compressed:syntax", "cut off before its end")
    return b"".join(parts)


def _inflate_zlib(data: bytes, most_bytes: int) -> bytes:
    member = zlib.decompressobj()
    content = _read(member, data, most_bytes)
    if not member.eof:
        raise BadData("compressed:syntax", "cut off before its end")
    if member.unused_data:
        raise BadData("compressed:syntax", "other bytes behind its end")
    return content


def _read(member: "zlib._Decompress", piece: bytes, room: int) -> bytes:
    """The content of a piece. Raises `BadData` if it is longer than `room` bytes."""
    try:
        part = member.decompress(piece, room + 1)
    except zlib.error as error:
        raise BadData("compressed:syntax", str(error).rpartition(": ")[2]) from None
    if len(part) > room:
        raise BadData("compressed:size", "its content is longer than allowed")
    return part
