"""Datagrams that are cut into frames: every framing, every byte's fate."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd import registry
from streamd.core.books import FrameBook
from streamd.core.column import Column
from streamd.core.contracts import AnyFramer, SourceContext
from streamd.core.frames import FlaggedFrame
from streamd.core.peer import Peer
from streamd.core.settings import BufferSettings
from streamd.net import datagram_cutter as cutting
from streamd.net.datagram_cutter import DatagramCutter
from streamd.runtime.intake import Intake

FRAMINGS = sorted(registry.names("framing"))


class Cutter(DatagramCutter):
    """A cutter with the book of its source."""

    def __init__(self, new_framer: Callable[[], AnyFramer]) -> None:
        self.book = FrameBook("lab")
        super().__init__(SourceContext("lab", self.book.counters, new_framer), new_framer)


def cutter(framing: str, max_frame: int = 64, oversize: str = "truncate", **options: Any) -> Cutter:
    cls = registry.load("framing", framing)

    def new_framer() -> AnyFramer:
        framer: AnyFramer = cls(cls.Config(**options), max_frame, oversize)
        return framer

    return Cutter(new_framer)


def outlet(cut: Cutter) -> Intake:
    return Intake(BufferSettings(), "block", cut.book)


def frames_of(cut: Cutter, *datagrams: bytes) -> list[tuple[bytes, str]]:
    found: list[tuple[bytes, str]] = []
    for frames in cut.cut(list(datagrams), Column(Peer("peer")), 0.0, outlet(cut)):
        flags = [f.flag if isinstance(f, FlaggedFrame) else "" for f in frames.payloads]
        assert frames.flagged == any(flags)
        found += zip(map(bytes, frames.payloads), flags, strict=True)
    return found


def plain(cut: Cutter, *datagrams: bytes) -> list[bytes]:
    found = frames_of(cut, *datagrams)
    assert not any(flag for _, flag in found)
    return [frame for frame, _ in found]


@pytest.mark.parametrize(
    ("framing", "datagram", "expected"),
    [
        ("newline", b"a\nb\n", [b"a", b"b"]),
        ("newline", b"a\nb", [b"a", b"b"]),
        ("newline", b"a\r\n\r\nb\r", [b"a", b"b"]),
        ("newline", b"one", [b"one"]),
        ("newline", b"a\nb\n\0", [b"a", b"b"]),
        ("newline", b"a\0\nb\0", [b"a\0", b"b\0"]),  # the codec knows a C string's end
        ("nul", b"a\nb\0c", [b"a\nb", b"c"]),
        ("octet_counting", b"3 a\nb2 cd", [b"a\nb", b"cd"]),
        ("length_prefix", b"\0\0\0\2ab\0\0\0\1c", [b"ab", b"c"]),
        ("auto", b"<1>a\n4 <2>\n<3>c\0<4>d", [b"<1>a", b"<2>\n", b"<3>c", b"<4>d"]),
        ("auto", b"x\n12", [b"x", b"12"]),
    ],
)
def test_a_datagram_is_cut_and_its_end_ends_a_line(
    framing: str, datagram: bytes, expected: list[bytes]
) -> None:
    cut = cutter(framing)
    assert plain(cut, datagram, datagram) == expected * 2
    assert not cut.book.counters
    assert not cut.book.dropped


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("datagram", [b"", b"\n", b"\0", b"\r\n"])
def test_a_datagram_without_a_frame_is_in_the_books(framing: str, datagram: bytes) -> None:
    cut = cutter(framing)
    frames = frames_of(cut, datagram)
    assert len(frames) + cut.book.received == 1
    assert cut.book.received == cut.book.dropped.total()


@pytest.mark.parametrize(
    ("framing", "datagram", "kept", "dropped", "notes"),
    [
        ("octet_counting", b"2 ab9 cut", [b"ab"], {"incomplete": 1}, {"discarded_bytes": 5}),
        ("length_prefix", b"\0\0\0\2ab\0\0\0\5cut", [b"ab"], {"incomplete": 1}, {"discarded_bytes": 7}),
        ("auto", b"<1>a\n9 <2>", [b"<1>a"], {"incomplete": 1}, {"discarded_bytes": 5}),
        ("octet_counting", b"2 abxyz", [b"ab"], {"framing": 1}, {"discarded_bytes": 3, "framing_errors": 1}),
        ("octet_counting", b"<13>hello", [], {"framing": 1}, {"discarded_bytes": 9, "framing_errors": 1}),
    ],
)
def test_what_is_cut_short_or_breaks_the_framing_is_dropped_and_the_next_datagram_is_whole(
    framing: str, datagram: bytes, kept: list[bytes], dropped: dict[str, int], notes: dict[str, int]
) -> None:
    cut = cutter(framing)
    good = {"octet_counting": b"2 ok", "length_prefix": b"\0\0\0\2ok", "auto": b" ok"}[framing]
    assert plain(cut, datagram, good) == [*kept, good.removeprefix(b"2 ").lstrip(b"\0\2") or b"ok"]
    book = cut.book
    assert (book.received, dict(book.dropped)) == (1, dropped)
    assert Counter({counter: n for (counter, _), n in book.counters.items()}) == notes


@pytest.mark.parametrize("oversize", ["truncate", "drop"])
def test_the_limit_holds_for_each_frame_and_nothing_goes_on_in_the_next_datagram(oversize: str) -> None:
    cut = cutter("newline", 4, oversize)
    found = frames_of(cut, b"ok\ntoo long\nfine", b"endless", b"next\n")
    cut_off = [(b"too ", "truncated"), (b"endl", "truncated")] if oversize == "truncate" else [None] * 2
    expected = [(b"ok", ""), cut_off[0], (b"fine", ""), cut_off[1], (b"next", "")]
    assert found == [frame for frame in expected if frame]
    book, counters = cut.book, cut.book.counters
    if oversize == "truncate":
        assert (book.received, book.counters["truncated", ""], book.counters["discarded_bytes", ""]) == (
            0,
            2,
            7,
        )
    else:
        assert (book.received, book.dropped["oversize"], counters["discarded_bytes", ""]) == (2, 2, 15)


def test_many_frames_are_handed_on_in_parts_with_each_its_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "MOST_FRAMES", 5)
    cut = cutter("newline")
    datagrams = [b"a\nb\nc", b"d\ne\nf\ng", b"h", b"i"]
    peers = Column.each([*map(Peer, ("one", "two", "one", "three"))], Peer(""))
    parts = list(cut.cut(datagrams, peers, 1.5, outlet(cut)))
    assert [len(part) for part in parts] == [7, 2]
    assert [bytes(payload) for part in parts for payload in part.payloads] == [
        b"%c" % c for c in b"abcdefghi"
    ]
    assert [part.peer(i) for part in parts for i in range(len(part))] == (
        ["one"] * 3 + ["two"] * 4 + ["one", "three"]
    )


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("oversize", ["truncate", "drop"])
@given(
    datagrams=st.lists(
        st.lists(st.sampled_from([b"\n", b"\0", b"\r", b"3 <ab", b"9 ", b"ab", b"\0\0\0\2", b"x" * 9])).map(
            b"".join
        )
        | st.binary(max_size=20),
        max_size=6,
    )
)
def test_every_datagram_is_cut_as_if_it_came_alone_and_has_a_fate(
    framing: str, oversize: str, datagrams: list[bytes]
) -> None:
    together = cutter(framing, 8, oversize)
    found = frames_of(together, *datagrams)
    alone: list[tuple[bytes, str]] = []
    books = Counter[str]()
    for datagram in datagrams:
        single = cutter(framing, 8, oversize)
        frames = frames_of(single, datagram)
        assert frames or single.book.dropped or single.book.counters
        assert single.book.received == single.book.dropped.total()
        alone += frames
        books.update(single.book.dropped)
    assert found == alone
    assert together.book.dropped == books
    assert all(flag in ("", "truncated") for _, flag in found)


def test_the_log_shows_a_sender_as_its_source_redacts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[Any] = []
    monkeypatch.setattr("streamd.net.datagram_cutter.log.warning", lambda _, **fields: logged.append(fields))
    cls = registry.load("framing", "octet_counting")
    book = FrameBook("lab")
    context = SourceContext("lab", book.counters, None, redact_peer=lambda _peer: Peer("hidden:0"))
    cut = DatagramCutter(context, lambda: cls(cls.Config(), 64, "truncate"))
    peers = Column(Peer("192.0.2.7:5"))
    found = list(cut.cut([b"2 ab<13>"], peers, 0.0, Intake(BufferSettings(), "block", book)))
    assert [fields["peer"] for fields in logged] == ["hidden:0"]
    assert found[0].peer(0) == "192.0.2.7:5"
