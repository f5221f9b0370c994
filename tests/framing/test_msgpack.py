"""The framing msgpack; also about `core/msgpack_scan.py`."""

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.core.contracts import AnyFramer
from streamd.core.errors import FramingError
from streamd.core.msgpack_scan import end_of

NewFramer = Callable[..., AnyFramer]
FeedAll = Callable[..., Any]
pack = msgspec.msgpack.encode

SCALARS = st.sampled_from(
    (
        None, True, 0, -1, 200, -40, 70_000, -(2**40), 2**64 - 1, 1.5, "", "a", "b" * 40, "c" * 300, b"",
        b"a", b"b" * 300, msgspec.msgpack.Ext(5, b"abc"), msgspec.msgpack.Ext(5, b"d" * 8),
    )
)  # fmt: skip
VALUES = SCALARS | st.lists(SCALARS, max_size=18) | st.dictionaries(st.sampled_from("abc"), SCALARS)
CONTAINERS = st.lists(VALUES, max_size=4) | st.dictionaries(st.sampled_from("abcd"), VALUES)


@settings(max_examples=60)
@given(values=st.lists(CONTAINERS, max_size=4), size=st.integers(1, 40))
def test_each_map_and_array_is_a_frame_however_its_bytes_arrive(
    values: list[Any], size: int, new_framer: NewFramer, feed_all: FeedAll
) -> None:
    frames = list(map(pack, values))
    data = b"".join(frames)
    reads = [data[start : start + size] for start in range(0, len(data), size)]
    outcome = feed_all(new_framer("msgpack", 10_000), reads)
    assert outcome.plain == frames
    assert (outcome.counts, outcome.fault) == ({}, None)


@pytest.mark.parametrize("first", range(256))
def test_each_first_byte_is_followed_by_as_many_bytes_as_msgspec_reads(first: int) -> None:
    """NUL bytes are lengths of nothing, keys, values and data of every kind."""
    sizes = []
    for size in range(1, 40):
        with contextlib.suppress(msgspec.DecodeError):
            msgspec.msgpack.decode(bytes([first]) + bytes(size - 1))
            sizes.append(size)
    assert [end_of(b"\x91" + bytes([first]) + bytes(40), 0) - 1] == sizes or first == 0xC1


@settings(max_examples=100)
@given(
    values=st.lists(CONTAINERS, max_size=3),
    wrong=st.none() | st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=1)),
    sizes=st.lists(st.integers(0, 30), max_size=12),
    limit=st.sampled_from([1, 2, 5, 9, 20]),
    oversize=st.sampled_from(["truncate", "drop", "close"]),
)
def test_overlong_and_broken_frames_have_one_fate_however_their_bytes_arrive(
    values: list[Any],
    wrong: tuple[int, bytes] | None,
    sizes: list[int],
    limit: int,
    oversize: str,
    new_framer: NewFramer,
    feed_all: FeedAll,
) -> None:
    data = b"".join(map(pack, values))
    if wrong is not None:
        data = data[: wrong[0]] + wrong[1] + data[wrong[0] + 1 :]
    edges = [min(edge, len(data)) for edge in itertools.accumulate(sizes, initial=0)] + [len(data)]
    reads = [data[start:end] for start, end in itertools.pairwise(edges)]
    whole = feed_all(new_framer("msgpack", limit, oversize), [data])
    assert feed_all(new_framer("msgpack", limit, oversize), reads) == whole
    assert feed_all(new_framer("msgpack", limit, oversize), [bytes([byte]) for byte in data]) == whole
    assert whole.kept_bytes + whole.lost_bytes == len(data)


@settings(max_examples=40)
@given(value=CONTAINERS, rest=st.binary(max_size=5))
def test_the_end_of_a_value_is_where_msgspec_has_written_it(value: Any, rest: bytes) -> None:
    data = pack(value)
    assert end_of(b"\xc0" + data + rest, 1) == 1 + len(data)
    assert all(end_of(data[:end], 0) == 0 for end in range(1, min(len(data), 200)))


MORE = {
    "c403": 3, "c50003": 3, "c600000003": 3, "c703": 4, "c80003": 4, "c900000003": 4, "ca": 4, "cb": 8,
    "cc": 1, "cd": 2, "ce": 4, "cf": 8, "d0": 1, "d1": 2, "d2": 4, "d3": 8, "d4": 2, "d5": 3, "d6": 5,
    "d7": 9, "d8": 17, "d903": 3, "da0003": 3, "db00000003": 3, "dc0002": 2, "dd00000002": 2, "de0002": 4,
    "df00000002": 4, "82": 4, "92": 2, "a2": 2, "bf": 31, "c0": 0, "c2": 0, "c3": 0, "ff": 0, "e0": 0,
    "7f": 0, "00": 0, "80": 0, "90": 0,
}  # fmt: skip
"""The bytes behind each head of a value."""


@pytest.mark.parametrize("head", MORE)
def test_every_kind_of_value_has_its_size(head: str, new_framer: NewFramer) -> None:
    frame = b"\x92" + bytes.fromhex(head) + b"\1" * MORE[head] + b"\2"
    assert end_of(frame, 0) == len(frame)
    framer = new_framer("msgpack")
    assert [framer.feed(frame[at : at + 1]) for at in range(len(frame))] == [[]] * (len(frame) - 1) + [
        [frame]
    ]
    assert framer.feed(frame + frame) == [frame, frame]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"GET / HTTP/1.1", "msgpack:not_container"), (b"\xc0", "msgpack:not_container"),
        (b"\xa1a", "msgpack:not_container"), (b"\xc1", "msgpack:syntax"), (b"\x91\xc1", "msgpack:syntax"),
    ],
)  # fmt: skip
def test_other_bytes_break_the_stream_behind_the_frames_before(
    stream: bytes, reason: str, new_framer: NewFramer
) -> None:
    framer = new_framer("msgpack")
    with pytest.raises(FramingError, match=reason) as caught:
        framer.feed(b"\x80" + stream)
    assert caught.value.frames == [b"\x80"]
    assert caught.value.discarded_bytes == len(stream)
    assert framer.counts == {}


def test_truncate_and_drop_go_on_with_the_next_frame(new_framer: NewFramer, feed_all: FeedAll) -> None:
    long = b"\x92\xa9123456789\3"
    for reads in ([long + b"\x91\1"], [bytes([byte]) for byte in long + b"\x91\1"]):
        outcome = feed_all(new_framer("msgpack", 6, "truncate"), reads)
        assert outcome.frames == [(long[:6], "truncated"), (b"\x91\1", "")]
        assert (outcome.counts, outcome.lost_bytes) == ({"truncated": 1}, 6)
        outcome = feed_all(new_framer("msgpack", 6, "drop"), reads)
        assert (outcome.plain, outcome.counts) == ([b"\x91\1"], {"oversize_dropped": 1})
        assert outcome.lost_bytes == len(long)
        outcome = feed_all(new_framer("msgpack", 6, "close"), reads)
        assert (outcome.plain, outcome.fault, outcome.lost_bytes) == ([], "oversize", len(long) + 2)


@pytest.mark.parametrize("head", [b"\xdd", b"\xdf", b"\x91\xc6", b"\x81\xa1a\xdb"])
@pytest.mark.parametrize("oversize", ["truncate", "drop", "close"])
def test_a_length_of_gigabytes_breaks_the_stream_at_once(
    head: bytes, oversize: str, new_framer: NewFramer
) -> None:
    framer = new_framer("msgpack", 65536, oversize)
    with pytest.raises(FramingError, match="oversize"):
        framer.feed(head + b"\xff\xff\xff\xff")
    assert framer.counts == {"oversize_dropped": 1}


def test_a_length_of_gigabytes_inside_a_frame_that_was_cut_breaks_the_stream(
    new_framer: NewFramer, feed_all: FeedAll
) -> None:
    stream = b"\x92\xa9123456789\xc6\xff\xff\xff\xff"
    outcome = feed_all(new_framer("msgpack", 6, "truncate"), [stream + b"x"])
    assert outcome.frames == [(stream[:6], "truncated")]
    assert (outcome.fault, outcome.counts) == ("msgpack:too_long", {"truncated": 1})
    assert outcome.lost_bytes == len(stream) + 1 - 6


@pytest.mark.parametrize("rest", [b"\x91", b"\x81\xa1a", b"\xdd\0", b"\x91\xc4\5ab"])
def test_a_frame_that_is_not_whole_at_the_end_is_counted(
    rest: bytes, new_framer: NewFramer, feed_all: FeedAll
) -> None:
    outcome = feed_all(new_framer("msgpack"), [b"\x91\1" + rest])
    assert (outcome.plain, outcome.counts) == ([b"\x91\1"], {"incomplete": 1})
    assert outcome.lost_bytes == len(rest)


def test_nesting_of_single_bytes_is_read_once() -> None:
    """Each byte announces one more, so only the scan that goes on where it stopped is linear."""

    class Watched(bytes):
        looks = 0

        def __getitem__(self, key: Any) -> Any:
            Watched.looks += 1
            return super().__getitem__(key)

    for size in (1000, 2000):
        Watched.looks = 0
        assert end_of(Watched(b"\x91" * size), 0) == 0
        assert Watched.looks <= size + 2
