"""The framing `influx`. About `line_protocol/open_string.py` and `line_protocol/physical_lines.py` too."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamd.core.contracts import AnyFramer
from streamd.line_protocol.open_string import ends_in_string

NewFramer = Callable[..., AnyFramer]
FeedAll = Callable[..., Any]

GOOD = b'm,t=a s="x\ny",f=1 1'


def test_a_line_end_in_a_string_is_content(new_framer: NewFramer, feed_all: FeedAll) -> None:
    data = b"m f=1\r\n" + GOOD + b'\nm s="\n\n\r\n"\r\n\r\n# it\'s "a comment\nm,t="b f="c"\nm f=1'
    outcome = feed_all(new_framer("influx"), [data])
    assert outcome.plain == [
        b"m f=1", GOOD, b'm s="\n\n\r\n"', b'# it\'s "a comment', b'm,t="b f="c"', b"m f=1",
    ]  # fmt: skip
    assert outcome.counts == {"unterminated": 1}


@pytest.mark.parametrize(
    ("line", "is_open"),
    [
        (b'm f="', True), (b'm f=""', False), (b'm f="a",g="b', True), (b'm f="a\\"', True),
        (b'm f="a\\\\"', False), (b'm f="a\\', True), (b'm,t=" f=1', False), (b'm,t=" f="', True),
        (b"m f=1", False), (b"m", False),
        (b'm\\ f="', False), (b'  m f="', True), (b'#m f="', False), (b' # f="', False), (b'm a\\="b', False),
        (b'm a\\\\="b', False), (b'm a"b="', True), (b'm f=a"b', False), (b"", False), (b'm f="a" "', False),
        (b'm f="a,g=" "', False), (b'm  f="', True),
    ],
)  # fmt: skip
def test_a_string_begins_behind_an_equals_sign_in_the_fields(line: bytes, *, is_open: bool) -> None:
    assert ends_in_string(line, begins_in_string=False) is is_open


@pytest.mark.parametrize(
    ("line", "is_open"),
    [
        (b"a", True),
        (b'a"', False),
        (b'a\\"', True),
        (b'",g="', True),
        (b'" 1', False),
        (b"", True),
        (b"\\", True),
    ],
)
def test_a_string_goes_on_up_to_its_quote(line: bytes, *, is_open: bool) -> None:
    assert ends_in_string(line, begins_in_string=True) is is_open


@pytest.mark.parametrize("oversize", ["truncate", "drop", "close"])
def test_a_missing_quote_spoils_one_line(oversize: str, new_framer: NewFramer, feed_all: FeedAll) -> None:
    lines = [b'm s="abc', *[b"m f=%d" % n for n in range(20)], b"m,t=a f=1"]
    outcome = feed_all(new_framer("influx", 64, oversize), [b"\n".join(lines) + b"\n"])
    assert outcome.plain == lines
    assert outcome.counts == {}
    assert feed_all(new_framer("influx", 4096, oversize), [b"\n".join(lines) + b"\n"]).plain == lines


@pytest.mark.parametrize(
    ("oversize", "frames", "counts"),
    [
        ("truncate", [(b'm s="', ""), (b"0123456789abcdef", "truncated"), (b"m f=1", "")], {"truncated": 1}),
        ("drop", [(b'm s="', ""), (b"m f=1", "")], {"oversize_dropped": 1}),
        ("close", [(b'm s="', "")], {"oversize_dropped": 1}),
    ],
)
def test_an_overlong_line_in_a_string_ends_the_string(
    oversize: str, frames: Any, counts: Any, new_framer: NewFramer, feed_all: FeedAll
) -> None:
    data = b'm s="\n0123456789abcdefghij\nm f=1\n'
    outcome = feed_all(new_framer("influx", 16, oversize), [data])
    assert outcome.frames == frames
    assert outcome.counts == counts
    assert outcome.fault == ("oversize" if oversize == "close" else None)


def test_what_is_behind_a_dropped_line_is_not_joined_to_what_is_before(
    new_framer: NewFramer, feed_all: FeedAll
) -> None:
    data = b'm s="\n0123456789abcdefghij\nx" 1\n'
    assert feed_all(new_framer("influx", 16, "drop"), [data]).plain == [b'm s="', b'x" 1']


def test_no_more_than_a_frame_is_held_while_a_string_has_no_end(new_framer: NewFramer) -> None:
    framer = new_framer("influx", 32)
    frames: list[bytes] = []
    for byte in b'm s="abc\n' + b"0123456789\n" * 9:
        frames += framer.feed(bytes([byte]))
        assert framer.waiting_bytes <= 33
    assert frames == [b'm s="abc', *[b"0123456789"] * 9]


def test_the_rest_of_a_string_completes_a_frame_at_the_end(new_framer: NewFramer, feed_all: FeedAll) -> None:
    assert feed_all(new_framer("influx"), [b'm s="a\nb" 1']).frames == [(b'm s="a\nb" 1', "unterminated")]
    assert feed_all(new_framer("influx"), [b'm s="a\nm f=1']).frames == [
        (b'm s="a', ""), (b"m f=1", "unterminated"),
    ]  # fmt: skip
    assert feed_all(new_framer("influx"), [b'm s="a\n']).frames == [(b'm s="a', "")]


TOKENS = [
    b"m f=1", b'm f="', b'"', b"\n", b"\r\n", b"\r", b",g=", b'="', b"\\", b" ", b"#", b"abcdefghij",
    b'",g="\n',
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    tokens=st.lists(st.sampled_from(TOKENS), max_size=16),
    places=st.lists(st.integers(0, 120), max_size=8),
    limit=st.sampled_from([1, 5, 8, 16, 64]),
    oversize=st.sampled_from(["truncate", "drop", "close"]),
)
@example(tokens=[b'm f="', b"\n", b"a", b"\r\n"], places=[8], limit=8, oversize="drop")
def test_any_split_gives_the_same_frames_and_loses_no_byte(
    tokens: list[bytes],
    places: list[int],
    limit: int,
    oversize: str,
    new_framer: NewFramer,
    feed_all: FeedAll,
) -> None:
    data = b"".join(tokens)
    whole = feed_all(new_framer("influx", limit, oversize), [data])
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    assert (
        feed_all(new_framer("influx", limit, oversize), [data[a:b] for a, b in itertools.pairwise(edges)])
        == whole
    )
    assert (
        feed_all(new_framer("influx", limit, oversize), [data[n : n + 1] for n in range(len(data))]) == whole
    )
    assert all(0 < len(frame) <= limit for frame in whole.plain)
    ends = data.count(b"\n") + data.count(b"\r")
    assert len(data) - ends <= whole.kept_bytes + whole.lost_bytes <= len(data)
