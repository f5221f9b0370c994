from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.contracts import AnyFramer
from streamd.core.errors import FramingError

NewFramer = Callable[..., AnyFramer]
FeedAll = Callable[..., Any]


def test_a_nul_ends_a_frame_and_lines_are_content(new_framer: NewFramer) -> None:
    framer = new_framer("nul")
    assert framer.feed(b'{"a":\n1}\0\0b\r\0c') == [b'{"a":\n1}', b"b\r"]
    assert framer.waiting_bytes == 1


def test_the_rest_at_the_end_is_delivered_and_flagged_with_its_cr(
    new_framer: NewFramer, feed_all: FeedAll
) -> None:
    outcome = feed_all(new_framer("nul"), [b"a\0b\r"])
    assert outcome.frames == [(b"a", ""), (b"b\r", "unterminated")]


def test_a_cr_does_not_make_a_frame_longer_than_max_frame(new_framer: NewFramer) -> None:
    framer = new_framer("nul", 4, "truncate")
    assert framer.feed(b"abcd\r") == [b"abcd"]
    assert framer.feed(b"\0x\0") == [b"x"]
    assert framer.counts == {"truncated": 1, "discarded_bytes": 1}


@pytest.mark.parametrize("oversize", ["truncate", "drop", "close"])
@given(data=st.text("ab\0\n\r", max_size=60).map(str.encode), max_frame=st.integers(1, 9))
def test_every_byte_is_in_a_frame_or_a_delimiter_or_discarded(
    oversize: str, data: bytes, max_frame: int, new_framer: NewFramer, feed_all: FeedAll
) -> None:
    outcome = feed_all(new_framer("nul", max_frame, oversize), [data])
    taken = data if outcome.fault is None else data[: len(data) - outcome.lost_bytes]
    lost_before_fault = outcome.lost_bytes if outcome.fault is None else 0
    assert outcome.kept_bytes + taken.count(0) + lost_before_fault == len(taken)
    frames = [frame for frame in taken.split(b"\0") if frame]
    if oversize == "truncate":
        assert outcome.plain == [frame[:max_frame] for frame in frames]
    else:
        assert outcome.plain == [frame for frame in frames if len(frame) <= max_frame]
        dropped = len(frames) - len(outcome.frames) + (outcome.fault is not None)
        assert outcome.counts["oversize_dropped"] == dropped


def test_close_breaks_the_stream_at_the_first_byte_too_many(new_framer: NewFramer) -> None:
    framer = new_framer("nul", 4, "close")
    assert framer.feed(b"ok\0abcd") == [b"ok"]
    with pytest.raises(FramingError) as caught:
        framer.feed(b"e")
    assert caught.value.discarded_bytes == 5
