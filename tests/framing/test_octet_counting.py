import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.contracts import AnyFramer
from streamd.core.errors import FramingError
from streamd.core.frames import FlaggedFrame

POLICIES = ["truncate", "drop", "close"]
NewFramer = Callable[..., AnyFramer]
FeedAll = Callable[..., Any]

SYSLOG = b"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - 'su root' failed"


def counted(*bodies: bytes) -> bytes:
    return b"".join(b"%d %s" % (len(body), body) for body in bodies)


def test_counted_messages_follow_each_other_and_may_hold_anything(new_framer: NewFramer) -> None:
    bodies = [SYSLOG, b"a\nb", b"\0", b" ", b"5 hello", "数据".encode()]
    framer = new_framer("octet_counting", 1000)
    assert framer.feed(counted(*bodies)) == bodies
    assert framer.counts == {}
    assert framer.waiting_bytes == 0


def test_a_count_split_over_reads_is_one_count(new_framer: NewFramer) -> None:
    framer = new_framer("octet_counting")
    assert framer.feed(b"1") == []
    assert framer.feed(b"2") == []
    assert framer.feed(b" ") == []
    assert framer.waiting_bytes == 3
    assert framer.feed(b"<13>hello") == []
    assert framer.feed(b" yo3 a") == [b"<13>hello yo"]
    assert framer.feed(b"bc") == [b"abc"]
    assert framer.waiting_bytes == 0


def test_spaces_and_lfs_that_nobody_counted_are_passed_over_between_frames(new_framer: NewFramer) -> None:
    framer = new_framer("octet_counting")
    assert framer.feed(b"3 abc\n3 def 3 ghi \n") == [b"abc", b"def", b"ghi"]
    assert framer.waiting_bytes == 0
    assert framer.feed_eof() == []
    assert framer.counts == {}


def test_a_space_after_the_count_belongs_to_the_message(new_framer: NewFramer) -> None:
    assert new_framer("octet_counting").feed(b"4  abc") == [b" abc"]


@pytest.mark.parametrize("oversize", POLICIES)
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"0 ", "count:zero"),
        (b"0", "count:zero"),
        (b"007 <13>abc", "count:zero"),
        (b"<13>no count", "count:syntax"),
        (b"12a hello", "count:syntax"),
        (b"-5 hello", "count:syntax"),
        (b"+5 hello", "count:syntax"),
        (b"1_0 0123456789", "count:syntax"),
        (b"5\nhello", "count:syntax"),
        (b"\xd9\xa3 abc", "count:syntax"),
        (b"\r\n", "count:syntax"),
        (b"1234567890 a", "count:too_long"),
        (b"9" * 5000, "count:too_long"),
    ],
)
def test_what_is_no_count_breaks_the_stream(
    bad: bytes, reason: str, oversize: str, new_framer: NewFramer
) -> None:
    framer = new_framer("octet_counting", 64, oversize)
    with pytest.raises(FramingError) as caught:
        framer.feed(b"3 abc" + bad)
    assert caught.value.reason == reason
    assert caught.value.frames == [b"abc"]
    assert caught.value.discarded_bytes == len(bad)
    assert framer.counts == {}  # bytes that are no count never were a frame
    assert framer.feed_eof() == []


def test_nine_digits_may_still_become_a_count_and_a_tenth_ends_that(new_framer: NewFramer) -> None:
    framer = new_framer("octet_counting")
    assert framer.feed(b"123456789") == []
    with pytest.raises(FramingError, match="count:too_long") as caught:
        framer.feed(b"0")
    assert caught.value.discarded_bytes == 10


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"0 <z", "count:zero"),
        (b"007 <x", "count:zero"),
        (b"1234567890 <y", "count:too_long"),
        (b"<13>no count", "count:syntax"),
        (b"99999 <w", "oversize"),
    ],
)
def test_a_count_is_read_alike_wherever_a_read_ends(
    bad: bytes, reason: str, new_framer: NewFramer, feed_all: FeedAll
) -> None:
    stream = b"7 <13>a\nb 3 <ab  12 <13>hello yo\n " + bad
    for cut in range(len(stream)):
        outcome = feed_all(new_framer("octet_counting", 12), [stream[:cut], stream[cut:]])
        assert outcome.plain == [b"<13>a\nb", b"<ab", b"<13>hello yo"], stream[:cut]
        assert (outcome.fault, outcome.lost_bytes) == (reason, len(bad)), stream[:cut]


def test_truncate_keeps_max_frame_and_skips_to_the_next_frame(new_framer: NewFramer) -> None:
    framer = new_framer("octet_counting", 4, "truncate")
    frames = framer.feed(b"6 abcdef3 xyz")
    assert frames == [b"abcd", b"xyz"]
    assert isinstance(frames[0], FlaggedFrame)
    assert framer.counts == {"truncated": 1, "discarded_bytes": 2}


def test_truncate_over_reads(new_framer: NewFramer) -> None:
    framer = new_framer("octet_counting", 4, "truncate")
    assert framer.feed(b"9 abc") == []
    assert framer.feed(b"de") == [b"abcd"]
    assert framer.waiting_bytes == 0
    assert framer.feed(b"fg") == []
    assert framer.feed(b"hi3 xyz") == [b"xyz"]
    assert framer.counts == {"truncated": 1, "discarded_bytes": 5}


def test_drop_counts_the_frame_its_bytes_and_its_prefix(new_framer: NewFramer) -> None:
    framer = new_framer("octet_counting", 4, "drop")
    assert framer.feed(b"6 abc") == []
    assert framer.feed(b"def3 xyz") == [b"xyz"]
    assert framer.counts == {"oversize_dropped": 1, "discarded_bytes": 8}


def test_close_breaks_the_stream_as_soon_as_the_count_is_known(new_framer: NewFramer) -> None:
    framer = new_framer("octet_counting", 4, "close")
    with pytest.raises(FramingError, match="oversize") as caught:
        framer.feed(b"2 ab6 a")
    assert caught.value.frames == [b"ab"]
    assert caught.value.discarded_bytes == 3
    assert framer.counts == {"oversize_dropped": 1}


@pytest.mark.parametrize("oversize", ["truncate", "drop"])
@pytest.mark.parametrize(
    ("max_frame", "most"), [(4, 4 + 4 * 1024), (65536, 65536 + 16 * 2**20), (2**27, 2**27 + 16 * 2**20)]
)
def test_a_sender_cannot_make_us_skip_more_than_a_bounded_number_of_bytes(
    oversize: str, max_frame: int, most: int, new_framer: NewFramer
) -> None:
    assert new_framer("octet_counting", max_frame, oversize).feed(b"%d <" % most) == []
    framer = new_framer("octet_counting", max_frame, oversize)
    with pytest.raises(FramingError, match="oversize") as caught:
        framer.feed(b"%d <" % (most + 1))
    assert caught.value.discarded_bytes == len(b"%d <" % most)
    assert framer.counts == {"oversize_dropped": 1}


@pytest.mark.parametrize("rest", [b"1", b"12 ", b"12 <13>hello"])
def test_a_frame_that_is_not_whole_at_the_end_is_counted(
    rest: bytes, new_framer: NewFramer, feed_all: FeedAll
) -> None:
    outcome = feed_all(new_framer("octet_counting"), [b"3 abc" + rest])
    assert outcome.plain == [b"abc"]
    assert outcome.counts == {"incomplete": 1}
    assert outcome.lost_bytes == len(rest)


def test_the_end_while_a_truncated_frame_is_skipped_loses_no_second_frame(
    new_framer: NewFramer, feed_all: FeedAll
) -> None:
    outcome = feed_all(new_framer("octet_counting", 4, "truncate"), [b"9 abcdef"])
    assert outcome.frames == [(b"abcd", "truncated")]
    assert outcome.counts == {"truncated": 1}
    assert outcome.lost_bytes == 2


@pytest.mark.parametrize("oversize", ["truncate", "drop"])
@given(
    bodies=st.lists(st.binary(min_size=1, max_size=12), max_size=8),
    gaps=st.lists(st.sampled_from([b"", b" ", b"\n", b" \n "]), min_size=8, max_size=8),
    cut_off=st.integers(0, 12),
    max_frame=st.integers(1, 12),
)
def test_every_byte_is_in_a_frame_a_prefix_or_a_gap_or_discarded(
    oversize: str,
    bodies: list[bytes],
    gaps: list[bytes],
    cut_off: int,
    max_frame: int,
    new_framer: NewFramer,
    feed_all: FeedAll,
) -> None:
    data = b"".join(gap + counted(body) for gap, body in zip(gaps, bodies, strict=False))
    data = data[: max(0, len(data) - cut_off)]
    outcome = feed_all(new_framer("octet_counting", max_frame, oversize), [data])
    overhead = at = 0
    while found := re.compile(rb"[ \n]*(?:(\d+) )?").match(data, at):
        overhead += len(found[0]) - len(found[0].lstrip())
        if found[1] is None:
            break
        length = int(found[1])
        have = len(data) - found.end()
        kept = have >= length if length <= max_frame else oversize == "truncate" and have >= max_frame
        overhead += len(found[1]) + 1 if kept else 0
        at = found.end() + length
    assert outcome.fault is None
    assert outcome.kept_bytes + overhead + outcome.lost_bytes == len(data)
