from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamd.core.contracts import AnyFramer
from streamd.core.errors import FramingError
from streamd.framing.length_prefix import LengthPrefix

NewFramer = Callable[..., AnyFramer]
FeedAll = Callable[..., Any]


@pytest.mark.parametrize(
    ("options", "data"),
    [
        ({}, b"\0\0\0\3abc\0\0\0\1\n"),
        ({"size": 4, "order": "little"}, b"\3\0\0\0abc\1\0\0\0\n"),
        ({"size": 2}, b"\0\3abc\0\1\n"),
        ({"size": 2, "order": "little"}, b"\3\0abc\1\0\n"),
        ({"size": 1}, b"\3abc\1\n"),
        ({"size": 2, "inclusive": True}, b"\0\5abc\0\3\n"),
    ],
)
def test_lengths_of_every_size_and_order(options: dict[str, Any], data: bytes, new_framer: NewFramer) -> None:
    framer = new_framer("length_prefix", **options)
    assert framer.feed(data) == [b"abc", b"\n"]
    assert framer.counts == {}


@pytest.mark.parametrize("options", [{"size": 3}, {"size": 8}, {"order": "network"}, {"bytes": 4}])
def test_another_size_order_or_key_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        LengthPrefix.Config(**options)
    assert [error["loc"] for error in refused.value.errors()] == [tuple(options)]


def test_a_length_split_over_reads(new_framer: NewFramer) -> None:
    framer = new_framer("length_prefix")
    assert framer.feed(b"\0\0") == []
    assert framer.waiting_bytes == 2
    assert framer.feed(b"\0\2") == []
    assert framer.waiting_bytes == 4
    assert framer.feed(b"ab\0") == [b"ab"]
    assert framer.waiting_bytes == 1


def test_a_length_of_zero_is_no_frame_and_counted(new_framer: NewFramer) -> None:
    framer = new_framer("length_prefix", size=1)
    assert framer.feed(b"\0\0\2ab\0") == [b"ab"]
    assert framer.counts == {"empty_frames": 3}


def test_an_inclusive_length_below_its_own_size_breaks_the_stream(new_framer: NewFramer) -> None:
    framer = new_framer("length_prefix", size=2, inclusive=True)
    with pytest.raises(FramingError, match="length:too_short") as caught:
        framer.feed(b"\0\3a\0\1abc")
    assert caught.value.frames == [b"a"]
    assert caught.value.discarded_bytes == 5
    assert framer.counts == {}


def test_an_inclusive_length_of_nothing_but_itself_is_empty(new_framer: NewFramer) -> None:
    framer = new_framer("length_prefix", size=2, inclusive=True)
    assert framer.feed(b"\0\2\0\3a") == [b"a"]
    assert framer.counts == {"empty_frames": 1}


def test_text_read_as_a_length_of_gigabytes_breaks_the_stream(new_framer: NewFramer) -> None:
    framer = new_framer("length_prefix", 65536, "truncate")
    with pytest.raises(FramingError, match="oversize") as caught:
        framer.feed(b"GET / HTTP/1.1\r\n")
    assert caught.value.discarded_bytes == 16
    assert framer.counts == {"oversize_dropped": 1}


def test_truncate_and_drop_go_on_with_the_next_frame(new_framer: NewFramer) -> None:
    truncating = new_framer("length_prefix", 2, "truncate", size=1)
    assert truncating.feed(b"\5abcde\1x") == [b"ab", b"x"]
    assert truncating.counts == {"truncated": 1, "discarded_bytes": 3}
    dropping = new_framer("length_prefix", 2, "drop", size=1)
    assert dropping.feed(b"\5abcde\1x") == [b"x"]
    assert dropping.counts == {"oversize_dropped": 1, "discarded_bytes": 6}


@pytest.mark.parametrize("rest", [b"\0", b"\0\5", b"\0\5ab"])
def test_a_frame_that_is_not_whole_at_the_end_is_counted(
    rest: bytes, new_framer: NewFramer, feed_all: FeedAll
) -> None:
    outcome = feed_all(new_framer("length_prefix", size=2), [b"\0\1a" + rest])
    assert outcome.plain == [b"a"]
    assert outcome.counts == {"incomplete": 1}
    assert outcome.lost_bytes == len(rest)


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("order", ["big", "little"])
@given(bodies=st.lists(st.binary(max_size=20), max_size=8), cut_off=st.integers(0, 20))
def test_every_byte_is_in_a_frame_or_a_prefix_or_discarded(
    size: int, order: Any, bodies: list[bytes], cut_off: int, new_framer: NewFramer, feed_all: FeedAll
) -> None:
    data = b"".join(len(body).to_bytes(size, order) + body for body in bodies)
    kept: list[bytes] = []
    end = 0
    data = data[: max(0, len(data) - cut_off)]
    for body in bodies:
        if end + size + len(body) > len(data):
            break
        end += size + len(body)
        kept.append(body)
    outcome = feed_all(new_framer("length_prefix", size=size, order=order), [data])
    assert outcome.plain == [body for body in kept if body]
    assert outcome.counts["empty_frames"] == kept.count(b"")
    assert outcome.counts["incomplete"] == (end < len(data))
    assert outcome.kept_bytes + len(kept) * size + outcome.lost_bytes == len(data)
