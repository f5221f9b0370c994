"""What holds for every framing that can be named in a configuration, with each policy for long frames.

Also about `core/counted.py`, `core/delimited.py` and `core/framer_counts.py`.
"""

import asyncio
import contextlib
import itertools
import random
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamd import registry
from streamd.core.contracts import AnyFramer, Framer, SourceContext
from streamd.core.errors import FramingError
from streamd.sources.tcp import Tcp
from tests import declared


class Case(NamedTuple):
    name: str
    options: dict[str, Any]
    oversize: str

    def framer(self, max_frame: int) -> AnyFramer:
        cls = registry.load("framing", self.name)
        framer = cls(cls.Config(**self.options), max_frame, self.oversize)
        assert isinstance(framer, Framer)
        return framer


OPTIONS: dict[str, list[dict[str, Any]]] = {
    "length_prefix": [
        {},
        {"size": 1},
        {"size": 1, "inclusive": True},
        {"size": 2, "order": "little"},
        {"size": 4, "order": "little", "inclusive": True},
    ],
}
CASES = [
    pytest.param(Case(name, options, oversize), id="-".join([name, *map(str, options.values()), oversize]))
    for name in registry.names("framing")
    for options in OPTIONS.get(name) or declared.options_of("framing", name)
    for oversize in ("truncate", "drop", "close")
]
every_framing = pytest.mark.parametrize("case", CASES)

LONGEST_PREFIX = 11
TOKENS = [
    b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b"\0\0", b" ", b"<", b"{", b"0", b"1", b"3", b"9", b"12", b"\xff",
    b"\1", b"\2", b"\3a", b"\0\3abc", b"\3\0abc", b"\0\0\0\5abcde", b"\0\0\0\0", b"\7\0\0\0abc", b"abc",
    b"abcdefghij", b"3 abc", b"3 <13", b'8 {"a":1}', b"2 <\n", b"12 <123456789ab", b"0 <a", b"03 <ab",
    b"1234567890 <a", b"999999999 <a", b"5424 things", b"7 ", b"4  <ab", b'm f="', b'"',
]  # fmt: skip
streams = st.one_of(
    st.lists(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=3)), max_size=24).map(b"".join),
    st.binary(max_size=120),
)
limits = st.sampled_from([1, 2, 3, 5, 8, 64])
cuts = st.lists(st.integers(0, 200), max_size=12)


def pieces_at(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def single_bytes(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


@every_framing
@settings(max_examples=120, deadline=None)
@given(data=streams, places=cuts, max_frame=limits)
@example(data=b"abcde\r\nf\r\n", places=[6], max_frame=5)
@example(data=b"abcdef\r\r\n", places=[6, 7], max_frame=5)
@example(data=b"x\n12", places=[3], max_frame=5)
@example(data=b"1 <  1 < 2 {}", places=[4, 9], max_frame=5)
@example(data=b"1234567 <abc\n", places=[8], max_frame=3)
@example(data=b"12345678", places=[], max_frame=3)
@example(data=b"9 <bcdefghi 1 <", places=[2, 8], max_frame=3)
@example(data=b"12 3\n4 <abc", places=[3], max_frame=5)
def test_any_split_gives_the_same_frames_counts_and_fault(
    case: Case, data: bytes, places: list[int], max_frame: int, feed_all: Callable[..., Any]
) -> None:
    whole = feed_all(case.framer(max_frame), [data])
    assert feed_all(case.framer(max_frame), pieces_at(data, places)) == whole
    assert feed_all(case.framer(max_frame), single_bytes(data)) == whole


@every_framing
@settings(max_examples=80, deadline=None)
@given(data=streams, places=cuts, max_frame=limits)
@example(data=b"12", places=[], max_frame=1)
def test_frames_keep_the_limit_and_every_flag_and_lost_frame_is_counted(
    case: Case, data: bytes, places: list[int], max_frame: int, feed_all: Callable[..., Any]
) -> None:
    outcome = feed_all(case.framer(max_frame), pieces_at(data, places))
    assert outcome.kept_bytes + outcome.lost_bytes <= len(data)
    assert all(0 < len(frame) <= max_frame for frame in outcome.plain)
    flags = [flag for _, flag in outcome.frames if flag]
    assert flags.count("truncated") == outcome.counts["truncated"]
    assert flags.count("unterminated") == outcome.counts["unterminated"]
    assert all(len(frame) == max_frame for frame, flag in outcome.frames if flag == "truncated")
    if case.oversize != "truncate":
        assert outcome.counts["truncated"] == 0
    if case.oversize != "drop":
        assert outcome.counts["oversize_dropped"] <= 1
    if outcome.fault == "oversize":
        assert outcome.counts["oversize_dropped"] >= 1


@every_framing
@settings(max_examples=80, deadline=None)
@given(data=streams, places=cuts, max_frame=limits)
def test_never_more_than_one_frame_and_its_prefix_is_held(
    case: Case, data: bytes, places: list[int], max_frame: int
) -> None:
    framer = case.framer(max_frame)
    for piece in pieces_at(data, places):
        try:
            framer.feed(piece)
        except FramingError:
            break
        assert framer.waiting_bytes <= max_frame + LONGEST_PREFIX


@every_framing
def test_an_empty_read_changes_nothing(case: Case, feed_all: Callable[..., Any]) -> None:
    data = b"1 <ab\n\0 3 <13"
    with_empty_reads = [piece for byte in single_bytes(data) for piece in (byte, b"")]
    assert feed_all(case.framer(64), [b"", *with_empty_reads]) == feed_all(case.framer(64), [data])


@every_framing
@pytest.mark.parametrize("begin", [b"A", b"3 <", b"60000 <", b"\r"], ids=["letter", "short", "long", "cr"])
def test_dribbled_bytes_are_copied_a_bounded_number_of_times(case: Case, begin: bytes) -> None:
    """What each feed allocates beyond what was there stands for what it copies."""
    reads = 12000
    framer = case.framer(2**16)
    allocated = 0
    tracemalloc.start()
    try:
        for piece in [*single_bytes(begin), *[b"a"] * reads]:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            try:
                framer.feed(piece)
            except FramingError:
                break
            framer.counts.clear()
            allocated += tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert allocated < 1000 * reads  # a copy of all that is held at each read would make it 6,000


class Watched(bytes):
    """Bytes that know how much was copied out of them by slicing."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        if isinstance(part, int):
            return part
        Watched.copied += len(part)
        return Watched(part)


@every_framing
@pytest.mark.parametrize(
    "unit", [b"abcdef\n", b"abcdef\0", b"6 abcdef", b"6 <bcdef", b"\6abcdef", b"\0\0\0\6abcdef"]
)
def test_many_overlong_frames_in_one_read_do_not_copy_the_rest_of_the_read_each_time(
    case: Case, unit: bytes
) -> None:
    data = Watched(unit * 3000)
    Watched.copied = 0
    with contextlib.suppress(FramingError):
        case.framer(4).feed(data)
    assert Watched.copied <= 4 * len(data)


@every_framing
@pytest.mark.parametrize("flood", [b"9", b"2 <", b"\xff", b"\0\0\0\xff", b"a", b" ", b"\r", b"\n", b"\0"])
def test_an_endless_flood_of_one_pattern_has_the_same_end_however_it_is_read(
    case: Case, flood: bytes, feed_all: Callable[..., Any]
) -> None:
    reads = [flood, *[flood * 1000] * 20]
    assert feed_all(case.framer(256), reads) == feed_all(case.framer(256), [b"".join(reads)])


@every_framing
def test_memory_is_taken_for_what_arrived_and_not_for_what_was_announced(case: Case) -> None:
    framer = case.framer(2**30)
    tracemalloc.start()
    try:
        for piece in (b"999999999 <", b"abc" * 100):
            try:
                framer.feed(piece)
            except FramingError:
                break
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16384


@pytest.mark.parametrize("case", [case for case in CASES if str(case.id).endswith("truncate")])
def test_what_is_held_of_an_unfinished_frame_takes_little_more_memory_than_its_bytes(case: Case) -> None:
    begins = [b"", b'm f="', b"60000 <", b"\xdd\0\1\0\0", b"\0\0\xf0\0"]
    for begin, unit in itertools.product(begins, [b"\n", b"a\n", b"a", b"\0"]):
        framer = case.framer(2**16)
        tracemalloc.start()
        try:
            with contextlib.suppress(FramingError):
                framer.feed(begin)
                for _ in range(12):
                    framer.feed(unit * (5000 // len(unit)))
            framer.counts.clear()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 2 * framer.waiting_bytes + 8192, (begin, unit)


@every_framing
@pytest.mark.parametrize("size", [40, 200])
def test_a_frame_has_begun_until_its_last_byte_came_also_where_it_is_skipped(case: Case, size: int) -> None:
    framer = case.framer(64)
    width = case.options.get("size", 4)
    length = size + (width if case.options.get("inclusive") else 0)
    prefix = {
        "octet_counting": b"%d " % size,
        "length_prefix": length.to_bytes(width, case.options.get("order", "big")),
        "msgpack": b"\xdd" + size.to_bytes(4),  # an array of small numbers
    }.get(case.name, b"")
    end = {"newline": b"\n", "influx": b"\n", "auto": b"\n", "nul": b"\0"}.get(case.name, b"")
    stream = prefix + b"<" + b"a" * (size - 1) + end
    assert framer.between_frames
    with contextlib.suppress(FramingError):  # the policy `close` ends an overlong one before
        for piece in single_bytes(stream[:-1]):
            framer.feed(piece)
            assert not framer.between_frames
        framer.feed(stream[-1:])
        assert framer.between_frames


@pytest.mark.parametrize("oversize", ["truncate", "drop"])
def test_an_overlong_counted_frame_of_auto_has_begun_until_its_last_byte_came(oversize: str) -> None:
    framer = Case("auto", {}, oversize).framer(64)
    for piece in single_bytes(b"300 <" + b"a" * 298):
        framer.feed(piece)
        assert not framer.between_frames
    framer.feed(b"a")
    assert framer.between_frames


@every_framing
@pytest.mark.parametrize("ends", ["by the sender", "by the daemon"])
async def test_what_a_connection_sends_is_offered_counted_and_settled_once(
    case: Case, ends: str, new_line: Any, until: Any, feed_all: Callable[..., Any]
) -> None:
    stream = b"".join(random.Random(str(case)).sample(TOKENS, len(TOKENS)))  # noqa: S311 - no secret
    alone = feed_all(case.framer(64), [stream])
    line = new_line()
    line.run()
    config = Tcp.Config.model_validate({"type": "tcp", "listen": "127.0.0.1:0"})
    source = Tcp(config, SourceContext("lab", line.intake.book.counters, lambda: case.framer(64)))
    await source.open(line)
    with socket.create_connection(source.address) as sender:
        with contextlib.suppress(ConnectionError):
            for piece in pieces_at(stream, [7, 20, 90]):
                sender.sendall(piece)
                await asyncio.sleep(0)
        if ends == "by the sender" and alone.fault is None:
            sender.shutdown(socket.SHUT_WR)
        if ends == "by the sender" or alone.fault is not None:
            await until(lambda: line.over)
        else:
            read = len(case.framer(64).feed(stream))
            await until(
                lambda: len(line.payloads) >= read and not any(one.unread_bytes for one in source.connections)
            )
        await source.stop()
    await line.drain()
    book = line.books.source("lab")
    assert line.payloads == alone.plain
    assert book.received == len(alone.plain) + alone.counts["oversize_dropped"] + alone.counts["incomplete"]
    assert line.flags == [flag for _, flag in alone.frames]
    line.assert_exact()
