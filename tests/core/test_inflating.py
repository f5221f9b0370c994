import gzip
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.core.errors import BadData
from streamd.core.inflating import PIECE_BYTES, Inflating

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zlib": zlib.compress,
    "zstd": zstd.compress,
}
EVERY = pytest.mark.parametrize("compression", COMPRESS)
TEXT = b"".join(b"line %d of a log, and some more text\n" % number for number in range(5000))


def inflated(compression: str, *parts: bytes, ends: bool = True) -> tuple[bytes, str]:
    """The content, and the reason of the fault that ended it."""
    inflating, pieces = Inflating(compression), []
    try:
        for part in parts:
            inflating.feed(part)
            while inflating.pending:
                piece = inflating.next()
                assert len(piece) <= PIECE_BYTES
                pieces.append(piece)
        if ends:
            inflating.end()
    except BadData as bad:
        return b"".join(pieces), bad.reason
    assert inflating.waiting_bytes == 0
    return b"".join(pieces), ""


@given(
    st.lists(st.one_of(st.binary(max_size=50), st.just(TEXT), st.just(bytes(300_000))), max_size=3),
    st.lists(st.integers(0, 1 << 20), max_size=4),
    st.sampled_from(sorted(COMPRESS)),
)
@settings(max_examples=60)
def test_however_the_bytes_are_divided_the_content_of_all_members_is_joined(
    contents: list[bytes], cuts: list[int], compression: str
) -> None:
    data = b"".join(map(COMPRESS[compression], contents))
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    parts = [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]
    assert inflated(compression, *parts) == (b"".join(contents), "")


@EVERY
def test_single_bytes_are_enough(compression: str) -> None:
    data = COMPRESS[compression](b"abc" * 100) + COMPRESS[compression](b"") + COMPRESS[compression](b"d")
    assert inflated(compression, *(data[at : at + 1] for at in range(len(data)))) == (b"abc" * 100 + b"d", "")


@EVERY
def test_of_a_bomb_only_one_piece_is_held(compression: str) -> None:
    bomb = COMPRESS[compression](bytes(20_000_000))
    inflating = Inflating(compression)
    inflating.feed(bomb[:-1])
    sizes = []
    while inflating.pending:
        sizes.append(len(inflating.next()))
    assert max(sizes) == PIECE_BYTES
    assert 19_000_000 < sum(sizes) <= 20_000_000
    inflating.feed(bomb[-1:])
    while inflating.pending:
        sizes.append(len(inflating.next()))
    inflating.end()
    assert sum(sizes) == 20_000_000


@EVERY
def test_a_stream_that_is_cut_off_is_incomplete_wherever_that_is(compression: str) -> None:
    data = COMPRESS[compression](TEXT[:2000])
    for size in range(1, len(data)):
        content, reason = inflated(compression, data[:size])
        assert (TEXT.startswith(content), reason) == (True, "compressed:incomplete")
    assert inflated(compression, b"") == (b"", "")


@EVERY
def test_what_is_before_a_fault_is_returned_first(compression: str) -> None:
    data = COMPRESS[compression](TEXT)
    assert inflated(compression, data + b"\xffgarbage") == (TEXT, "compressed:syntax")
    assert inflated(compression, data, b"\xffgarbage") == (TEXT, "compressed:syntax")
    half = len(data) // 2
    content, reason = inflated(compression, data[:half] + b"\xff" * 500 + data[half:])
    assert content != TEXT
    assert reason == "compressed:syntax"
    assert inflated(compression, b"plain text\n") == (b"", "compressed:syntax")


@given(st.binary(max_size=200), st.sampled_from(sorted(COMPRESS)), st.integers(0, 60))
@settings(max_examples=200)
def test_no_bytes_raise_anything_else_and_none_are_taken_twice(
    tail: bytes, compression: str, kept: int
) -> None:
    data = COMPRESS[compression](b"some content " * 5)[:kept] + tail
    inflated(compression, data, ends=False)


def test_a_wrong_checksum_is_found_behind_the_content() -> None:
    data = bytearray(COMPRESS["gzip"](TEXT))
    data[-6] ^= 1
    assert inflated("gzip", bytes(data[:-8]), bytes(data[-8:])) == (TEXT, "compressed:syntax")
    content, reason = inflated("gzip", bytes(data))
    assert (TEXT.startswith(content), len(content) > len(TEXT) // 2, reason) == (
        True,
        True,
        "compressed:syntax",
    )


def test_padding_behind_members_of_gzip_is_skipped_and_before_them_it_is_none() -> None:
    data = COMPRESS["gzip"](b"a")
    assert inflated("gzip", data + bytes(10_000), bytes(3) + data, b"\0") == (b"aa", "")
    assert inflated("gzip", b"\0" + data)[1] == "compressed:syntax"
    assert inflated("zlib", COMPRESS["zlib"](b"a") + b"\0")[1] != ""


def test_many_empty_members_take_many_calls() -> None:
    for compression, compress in COMPRESS.items():
        inflating, calls = Inflating(compression), 0
        inflating.feed(compress(b"") * 1000)
        while inflating.pending:
            assert inflating.next() == b""
            calls += 1
        assert calls >= 1000 // 16


def test_bytes_that_wait_are_counted_until_their_content_was_returned() -> None:
    bomb = COMPRESS["zstd"](bytes(10_000_000))
    inflating = Inflating("zstd")
    inflating.feed(bomb)
    assert inflating.waiting_bytes == len(bomb)
    inflating.next()
    assert inflating.waiting_bytes > 0
    while inflating.pending:
        inflating.next()
    assert inflating.waiting_bytes == 0


def test_skippable_frames_of_zstd_are_skipped_and_long_windows_refused() -> None:
    skipped = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    assert inflated("zstd", skipped + zstd.compress(b"a") + skipped) == (b"a", "")
    options: Any = {zstd.CompressionParameter.window_log: 24}
    compressor = zstd.ZstdCompressor(options=options)
    data = compressor.compress(b"a" * 100) + compressor.flush(zstd.ZstdCompressor.FLUSH_FRAME)
    assert inflated("zstd", data) == (b"", "compressed:window")
