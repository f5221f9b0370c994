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


def test_lf_and_crlf_end_a_line_and_an_empty_line_is_no_frame(new_framer: NewFramer) -> None:
    framer = new_framer("newline")
    assert framer.feed(b"one\ntwo\r\n\n\r\nthree\n") == [b"one", b"two", b"three"]
    assert framer.counts == {}
    assert framer.waiting_bytes == 0


@pytest.mark.parametrize(
    ("data", "frames"),
    [
        (b"a\rb\n", [b"a\rb"]),
        (b"\ra\n", [b"\ra"]),
        (b"a\r\r\n", [b"a\r"]),
        (b"\r\r\n", [b"\r"]),
        (b"a\0b\n", [b"a\0b"]),
        (b" \n", [b" "]),
    ],
)
def test_only_the_cr_directly_before_the_lf_belongs_to_it(
    data: bytes, frames: list[bytes], new_framer: NewFramer
) -> None:
    assert new_framer("newline").feed(data) == frames


def test_a_line_over_many_reads_is_one_frame(new_framer: NewFramer) -> None:
    framer = new_framer("newline")
    assert framer.feed(b"val") == []
    assert framer.feed(b"ue=") == []
    assert framer.waiting_bytes == 6
    assert framer.feed(b"1\nval") == [b"value=1"]
    assert framer.waiting_bytes == 3


def test_the_rest_at_the_end_is_delivered_and_flagged(new_framer: NewFramer, feed_all: FeedAll) -> None:
    outcome = feed_all(new_framer("newline"), [b"whole\nhalf"])
    assert outcome.frames == [(b"whole", ""), (b"half", "unterminated")]
    assert outcome.counts == {"unterminated": 1}


def test_half_a_crlf_at_the_end_is_not_part_of_the_line(new_framer: NewFramer, feed_all: FeedAll) -> None:
    assert feed_all(new_framer("newline"), [b"half\r"]).frames == [(b"half", "unterminated")]
    assert feed_all(new_framer("newline"), [b"whole\n\r"]).frames == [(b"whole", "")]


def test_the_end_comes_once(new_framer: NewFramer) -> None:
    framer = new_framer("newline")
    framer.feed(b"half")
    assert framer.feed_eof() == [b"half"]
    assert framer.feed_eof() == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("oversize", POLICIES)
def test_a_line_of_exactly_max_frame_is_whole(end: bytes, oversize: str, new_framer: NewFramer) -> None:
    framer = new_framer("newline", 4, oversize)
    assert framer.feed(b"abcd" + end) == [b"abcd"]
    assert framer.feed(b"abcd\r") == []
    assert framer.feed(b"\nx\n") == [b"abcd", b"x"]
    assert framer.counts == {}


def test_truncate_keeps_the_beginning_and_counts_the_rest(new_framer: NewFramer) -> None:
    framer = new_framer("newline", 4, "truncate")
    frames = framer.feed(b"ab\nabcdef\nx\n")
    assert frames == [b"ab", b"abcd", b"x"]
    assert [type(frame) is FlaggedFrame for frame in frames] == [False, True, False]
    assert framer.counts == {"truncated": 1, "discarded_bytes": 2}


def test_a_truncated_line_is_delivered_before_its_end_arrives(new_framer: NewFramer) -> None:
    framer = new_framer("newline", 4, "truncate")
    assert framer.feed(b"abcde") == [b"abcd"]
    assert framer.waiting_bytes == 0
    assert framer.feed(b"fgh") == []
    assert framer.feed(b"i\nnext\n") == [b"next"]
    assert framer.counts == {"truncated": 1, "discarded_bytes": 5}


def test_drop_counts_the_frame_and_all_its_bytes(new_framer: NewFramer) -> None:
    framer = new_framer("newline", 4, "drop")
    assert framer.feed(b"ab\nabcdef\nx\nabcdef") == [b"ab", b"x"]
    assert framer.feed(b"gh") == []
    assert framer.feed_eof() == []
    assert framer.counts == {"oversize_dropped": 2, "discarded_bytes": 14}


def test_close_hands_over_what_came_before_and_counts_what_did_not(new_framer: NewFramer) -> None:
    framer = new_framer("newline", 4, "close")
    framer.feed(b"a")
    with pytest.raises(FramingError) as caught:
        framer.feed(b"b\nabcdef\nx\n")
    assert caught.value.reason == "oversize"
    assert caught.value.frames == [b"ab"]
    assert caught.value.discarded_bytes == len(b"abcdef\nx\n")
    assert framer.counts == {"oversize_dropped": 1}
    assert framer.feed_eof() == []


def test_a_read_of_many_lines_longer_than_max_frame_together_is_whole(new_framer: NewFramer) -> None:
    lines = [b"%d" % n * (n % 7 + 1) for n in range(1, 2000)]
    framer = new_framer("newline", 32, "close")
    assert framer.feed(b"\n".join(lines) + b"\n") == lines


def reference(
    data: bytes, max_frame: int, oversize: str
) -> tuple[list[tuple[bytes, str]], dict[str, int], int]:
    """Frames, counts and the bytes of delimiters, of a stream without the policy `close`."""
    frames, counts = [], {"truncated": 0, "oversize_dropped": 0, "unterminated": 0, "discarded_bytes": 0}
    lines, between = data.split(b"\n"), data.count(b"\n")
    for number, line in enumerate(lines, 1):
        body = line[:-1] if line.endswith(b"\r") else line
        if len(body) > max_frame:
            kept = max_frame if oversize == "truncate" else 0
            counts["truncated" if kept else "oversize_dropped"] += 1
            counts["discarded_bytes"] += len(line) - kept
            frames += [(line[:kept], "truncated")] if kept else []
            continue
        between += len(line) - len(body)
        if body:
            flag = "unterminated" if number == len(lines) else ""
            counts["unterminated"] += bool(flag)
            frames.append((body, flag))
    return frames, {name: n for name, n in counts.items() if n}, between


@pytest.mark.parametrize("oversize", ["truncate", "drop"])
@given(
    data=st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"bcd", b"efghijk", b"\0"]), max_size=30).map(
        b"".join
    ),
    max_frame=st.integers(1, 9),
)
def test_every_byte_is_in_a_frame_or_a_delimiter_or_discarded(
    oversize: str, data: bytes, max_frame: int, new_framer: NewFramer, feed_all: FeedAll
) -> None:
    frames, counts, between = reference(data, max_frame, oversize)
    outcome = feed_all(new_framer("newline", max_frame, oversize), [data])
    assert outcome.frames == frames
    assert outcome.kept_bytes + between + outcome.lost_bytes == len(data)
    assert outcome.lost_bytes == counts.pop("discarded_bytes", 0)
    assert outcome.counts == counts
