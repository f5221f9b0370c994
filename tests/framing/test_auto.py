from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamd.core.contracts import AnyFramer
from streamd.core.errors import FramingError

POLICIES = ["truncate", "drop", "close"]
NewFramer = Callable[..., AnyFramer]
FeedAll = Callable[..., Any]


def test_lines_and_counted_frames_are_told_apart_frame_by_frame(new_framer: NewFramer) -> None:
    data = b"""<13>line\n7 <13>a\nb{"a":1}\r\n8 {"b":\n}9 <14>after<15>last\n"""
    framer = new_framer("auto")
    assert framer.feed(data) == [b"<13>line", b"<13>a\nb", b'{"a":1}', b'{"b":\n}9', b"<14>after<15>last"]
    assert framer.counts == {}


@pytest.mark.parametrize(
    "line",
    [
        b"5424 things happened",
        b"5 hello",
        b"3.14 <pi>",
        b"7<13>x",
        b"12",
        b"12 ",
        b"12 \xff<",
        b"0 <13>zero",
        b"007 <13>leading zero",
        b"1234567890 <13>ten digits",
        b"999999999 <13>more than would ever be skipped",
        b"-5 <13>x",
        b" 5 <13>x",
        b"9" * 40,
    ],
)
@pytest.mark.parametrize("oversize", POLICIES)
def test_a_text_that_only_resembles_a_count_is_a_line(
    line: bytes, oversize: str, new_framer: NewFramer
) -> None:
    framer = new_framer("auto", 64, oversize)
    assert framer.feed(line + b"\n" + line + b"\r\n3 <ab") == [line, line, b"<ab"]
    assert framer.counts == {}


def test_a_count_inside_a_line_is_text(new_framer: NewFramer) -> None:
    assert new_framer("auto").feed(b"took 7 <ms\nx7 <13>abc\n") == [b"took 7 <ms", b"x7 <13>abc"]


def test_a_nul_ends_a_line_as_lf_does(new_framer: NewFramer) -> None:
    framer = new_framer("auto")
    data = b"<14>one\0<14>two\n<14>three\r\n<14>four\n\0<14>five\0\n\0\0<14>six\r\0"
    assert framer.feed(data) == [b"<14>one", b"<14>two", b"<14>three", b"<14>four", b"<14>five", b"<14>six"]
    assert framer.between_frames
    assert framer.counts == {}


def test_a_count_is_found_behind_a_nul_and_a_nul_in_a_counted_frame_is_content(new_framer: NewFramer) -> None:
    framer = new_framer("auto")
    assert framer.feed(b"<14>a\0" b"6 <b\0c\nd" b"12 e\0" b"7 <15>abc" b"x\0") == [
        b"<14>a", b"<b\0c\nd", b"12 e", b"<15>abc", b"x",
    ]  # fmt: skip


def test_a_nul_inside_a_line_makes_two_of_it_and_loses_no_other_byte(new_framer: NewFramer) -> None:
    framer = new_framer("auto")
    assert framer.feed(b"binary \0\xff\0\0 data\nnext\n") == [b"binary ", b"\xff", b" data", b"next"]


@pytest.mark.parametrize("oversize", ["truncate", "drop"])
def test_an_overlong_line_ends_at_a_nul_too(oversize: str, new_framer: NewFramer) -> None:
    framer = new_framer("auto", 4, oversize)
    kept = [b"long"] if oversize == "truncate" else []
    assert framer.feed(b"longer") + framer.feed(b"st\0ok\0") == [*kept, b"ok"]


def test_a_line_feed_inside_a_counted_frame_starts_no_line(new_framer: NewFramer) -> None:
    assert new_framer("auto").feed(b"12 <a\n3 <bc\nde\nline\n") == [b"<a\n3 <bc\nde\n", b"line"]


def test_what_is_not_decided_is_held(new_framer: NewFramer) -> None:
    framer = new_framer("auto")
    assert framer.feed(b"x\n1") == [b"x"]
    assert framer.waiting_bytes == 1
    assert framer.feed(b"2") == []
    assert framer.feed(b" ") == []
    assert framer.waiting_bytes == 3
    assert framer.feed(b"<13>hello yo") == [b"<13>hello yo"]
    assert framer.feed(b"12 ") == []
    assert framer.feed(b"things\n") == [b"12 things"]
    assert framer.waiting_bytes == 0


def test_what_is_not_decided_at_the_end_is_a_line(new_framer: NewFramer, feed_all: FeedAll) -> None:
    outcome = feed_all(new_framer("auto"), [b"x\n12 "])
    assert outcome.frames == [(b"x", ""), (b"12 ", "unterminated")]
    assert outcome.counts == {"unterminated": 1}


@pytest.mark.parametrize("oversize", POLICIES)
def test_what_is_not_decided_at_the_end_keeps_the_limit_too(
    oversize: str, new_framer: NewFramer, feed_all: FeedAll
) -> None:
    outcome = feed_all(new_framer("auto", 4, oversize), [b"4099 "])
    assert outcome.fault is None
    assert outcome.plain == ([b"4099"] if oversize == "truncate" else [])
    assert outcome.counts == ({"truncated": 1} if oversize == "truncate" else {"oversize_dropped": 1})
    assert outcome.kept_bytes + outcome.lost_bytes == 5


def test_a_counted_frame_that_is_not_whole_at_the_end_is_counted(
    new_framer: NewFramer, feed_all: FeedAll
) -> None:
    outcome = feed_all(new_framer("auto"), [b"x\n12 <13>hel"])
    assert outcome.plain == [b"x"]
    assert outcome.counts == {"incomplete": 1}
    assert outcome.lost_bytes == 10


def test_spaces_and_lfs_after_a_counted_frame_are_passed_over(new_framer: NewFramer) -> None:
    framer = new_framer("auto")
    assert framer.feed(b"3 <ab 3 <cd\n3 <ef\n line\n  text\n") == [
        b"<ab",
        b"<cd",
        b"<ef",
        b" line",
        b"  text",
    ]


def test_an_overlong_counted_frame_follows_the_policy(new_framer: NewFramer) -> None:
    truncating = new_framer("auto", 4, "truncate")
    assert truncating.feed(b"6 <abcdexyz\n") == [b"<abc", b"xyz"]
    assert truncating.counts == {"truncated": 1, "discarded_bytes": 2}
    dropping = new_framer("auto", 4, "drop")
    assert dropping.feed(b"6 <abcdexyz\n") == [b"xyz"]
    assert dropping.counts == {"oversize_dropped": 1, "discarded_bytes": 8}
    closing = new_framer("auto", 4, "close")
    with pytest.raises(FramingError, match="oversize") as caught:
        closing.feed(b"xyz\n6 <abcdexyz\n")
    assert caught.value.frames == [b"xyz"]
    assert caught.value.discarded_bytes == 12
    assert closing.counts == {"oversize_dropped": 1}


def test_an_overlong_line_under_close_counts_all_that_follows_as_discarded(new_framer: NewFramer) -> None:
    framer = new_framer("auto", 4, "close")
    with pytest.raises(FramingError, match="oversize") as caught:
        framer.feed(b"3 <abok\ntoo long\n3 <cd")
    assert caught.value.frames == [b"<ab", b"ok"]
    assert caught.value.discarded_bytes == len(b"too long\n3 <cd")


def test_a_counted_frame_after_an_overlong_line_is_found(new_framer: NewFramer) -> None:
    framer = new_framer("auto", 4, "truncate")
    assert framer.feed(b"abcdefgh") == [b"abcd"]
    assert framer.feed(b"i\n3 <ab") == [b"<ab"]


def test_its_owner_may_empty_the_counts_as_it_likes(new_framer: NewFramer) -> None:
    framer = new_framer("auto", 4, "truncate")
    framer.feed(b"abcdef\n")
    framer.counts = {}
    framer.feed(b"6 <abcde")
    assert framer.counts == {"truncated": 1, "discarded_bytes": 2}


def reference(data: bytes, max_frame: int) -> tuple[list[bytes], int]:
    """The frames, and the bytes of prefixes and delimiters, of a stream that ends between frames."""
    frames: list[bytes] = []
    overhead = at = 0
    after_counted = False
    while at < len(data):
        digits = data[at : len(data) - len(data[at:].lstrip(b"0123456789"))]
        is_count = 0 < len(digits) < 10 and not digits.startswith(b"0")
        mark = data[at + len(digits) : at + len(digits) + 2]
        if after_counted and data.startswith(b" ", at):
            overhead += 1
            at += 1
        elif is_count and mark in {b" <", b" {"} and int(digits) <= max_frame + 1024 * max_frame:
            body = at + len(digits) + 1
            frames.append(data[body : body + int(digits)][:max_frame])
            overhead += len(digits) + 1
            at = body + int(digits)
            after_counted = True
        else:
            end = min(found for found in (data.find(b"\n", at), data.find(b"\0", at)) if found >= 0)
            line = data[at:end]
            body_line = line.removesuffix(b"\r")
            cut = len(body_line) > max_frame
            frames += [body_line[:max_frame]] if body_line else []
            overhead += 1 + (0 if cut else len(line) - len(body_line))
            at = end + 1
            after_counted = False
    return frames, overhead


PIECES = [
    b"12 ",
    b"3 <ab",
    b"7 {ab\ncde",
    b"5424 things",
    b"\n",
    b"\r\n",
    b" ",
    b"0 <",
    b"abc\n",
    b"abc\0",
    b"\0",
    b"7 {ab\0cde",
    b"99999 <a\n",
    b"700 <a",
    b"a",
]


@given(
    data=st.lists(st.sampled_from(PIECES), max_size=16).map(lambda parts: b"".join(parts) + b"\n"),
    max_frame=st.integers(1, 12),
)
@example(data=b"3 <ab  5424 things\n", max_frame=12)
def test_every_byte_is_in_a_frame_or_a_prefix_or_a_delimiter_or_discarded(
    data: bytes, max_frame: int, new_framer: NewFramer, feed_all: FeedAll
) -> None:
    data += b"z" * 1024 + b"\n"  # whatever was announced ends in this line
    outcome = feed_all(new_framer("auto", max_frame, "truncate"), [data])
    frames, overhead = reference(data, max_frame)
    assert outcome.plain == frames
    assert outcome.kept_bytes + overhead + outcome.lost_bytes == len(data)


def test_every_frame_is_decided_alone_wherever_a_read_ends(new_framer: NewFramer, feed_all: FeedAll) -> None:
    stream = (
        b"7 <13>a\nb 3 <ab  2 {}\n0 <z\n007 <x\n1234567890 <y\n99999 <w\n12 <13>hello yo5 <long 12 things\n"
        b"7 {ab\0cd3 <ef\n3 <gh\n\0last\0"
    )
    frames = [
        b"<13>", b"<ab", b"{}", b"0 <z", b"007 ", b"1234", b"9999", b"<13>", b"<lon", b"12 t", b"{ab\0",
        b"<ef", b"<gh", b"last",
    ]  # fmt: skip
    for cut in range(len(stream)):
        outcome = feed_all(new_framer("auto", 4), [stream[:cut], stream[cut:]])
        assert (outcome.plain, outcome.fault) == (frames, None), stream[:cut]
        assert outcome.counts == {"truncated": 8}
