from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.codecs.csv import Csv
from streamd.codecs.json import Json
from streamd.codecs.text import Text
from streamd.core.ack import Ack, Status
from streamd.core.acks import Acks
from streamd.core.column import Column
from streamd.core.contracts import AnyCodec, Decoded
from streamd.core.errors import ConfigError
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.multiline_settings import MultilineSettings
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.schema import FieldSettings, Schema
from streamd.preparing.joined_lines import JoinedLines

A, B = Peer("192.0.2.1:1"), Peer("192.0.2.2:2")
JAVA = b"""\
2026-01-31 08:00:00 ERROR request failed
java.lang.IllegalStateException: no connection
\tat com.example.Pool.take(Pool.java:41)
\tat com.example.Main.main(Main.java:7)
Caused by: java.io.IOException: closed
\t... 2 more
2026-01-31 08:00:01 INFO next"""
PYTHON = b"""\
Traceback (most recent call last):
  File "steps.py", line 3, in calibrate
    return record["value"] * 2
KeyError: 'value'
Traceback (most recent call last):
  File "steps.py", line 9, in other
ValueError: no number
an ordinary line"""
GO = b"""\
2026/01/31 08:00:00 listening
panic: runtime error: index out of range [3]
goroutine 1 [running]:
main.main()
\t/src/main.go:8 +0x1d
exit status 2
2026/01/31 08:00:02 listening"""


def joining(codec: AnyCodec | None = None, **options: Any) -> JoinedLines:
    made = JoinedLines(MultilineSettings.model_validate(options), codec or Text(Text.Config(), None))
    made.place_behind(streams=True, cut=True)
    return made


def frames(*lines: bytes, peer: Peer = A, acks: Acks | None = None) -> Frames:
    flagged = any(isinstance(line, FlaggedFrame) for line in lines)
    return Frames(list(lines), Column(peer), Column(1e9), acks=acks, flagged=flagged)


def at(mono_s: float) -> Now:
    return Now(1e9 + mono_s, mono_s)


def texts(decoded: Decoded | None) -> list[str]:
    return [] if decoded is None else [record["message"] for record in decoded.records]


def messages(codec: JoinedLines, text: bytes) -> list[str]:
    found = texts(codec.decode(frames(*text.split(b"\n")), at(0.0)))
    return found + texts(codec.finish(at(0.0)))


def lines_of(found: list[str]) -> list[int]:
    return [message.count("\n") + 1 for message in found]


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ({"start": r"\d{4}-\d\d-\d\d "}, JAVA, [6, 1]),
        ({"continues": r"\s|Caused by: |[\w.]+Exception: "}, JAVA, [6, 1]),
        ({"start": "Traceback ", "continues": r"\s|\w+Error: "}, PYTHON, [4, 3, 1]),
        ({"start": r"\d{4}/\d\d/\d\d |panic: "}, GO, [1, 5, 1]),
        ({"continues": r"\s"}, b"a\n b\n\tc\nd", [3, 1]),
        ({"continues": r"\s"}, b" before any\n b\nc", [2, 1]),
        ({"start": "x", "continues": "y"}, b"y\ny\na\ny\nx\ny\na\nb", [2, 1, 1, 2, 1, 1]),
    ],
)
def test_the_lines_of_a_trace_are_one_message(options: Any, text: bytes, expected: list[int]) -> None:
    codec = joining(**options)
    found = messages(codec, text)
    assert "\n".join(found) == text.decode()
    assert lines_of(found) == expected
    assert codec.counts.get("joined_lines", 0) == sum(expected) - len(expected)


def test_a_message_waits_for_the_next_one_and_its_frames_are_held() -> None:
    codec = joining(continues=r"\s")
    first = codec.decode(frames(b"a", b" b"), at(0.0))
    assert (first.records, first.rejects) == ([], [])
    assert first.frames is not None
    assert len(first.frames) == 0
    second = codec.decode(frames(b" c", b"d", b" e", b"f"), at(0.1))
    assert texts(second) == ["a\n b\n c", "d\n e"]
    assert second.frames is not None
    assert len(second.frames) == 5
    assert second.origins == [2, 4]
    last = codec.finish(at(0.2))
    assert last is not None
    assert last.frames is not None
    assert (texts(last), len(last.frames), codec.finish(at(0.2))) == (["f"], 1, None)


def test_each_connection_has_its_own_message_and_its_end_ends_it() -> None:
    codec = joining(continues=r"\s")
    both = Frames([b"a", b"x", b" b", b" y", b"z"], Column(A, [A, B, A, B, B]), Column(1e9))
    done = codec.decode(both, at(0.0))
    assert texts(done) == ["x\n y"]
    assert done.frames is not None
    assert [done.frames.peer(n) for n in range(len(done.frames))] == [B, B]
    assert texts(codec.forget(A, at(0.0))) == ["a\n b"]
    assert codec.forget(A, at(0.0)) is None
    assert texts(codec.forget(B, at(0.0))) == ["z"]
    assert codec.next_deadline() is None


def test_two_connections_of_one_process_have_equal_names_and_two_messages() -> None:
    codec = joining(continues=r"\s")
    one, two = Peer("pid=1,uid=2,gid=3"), Peer("pid=1,uid=2,gid=3")
    codec.decode(frames(b"a", peer=one), at(0.0))
    codec.decode(frames(b" b", peer=two), at(0.0))
    assert texts(codec.finish(at(0.0))) == ["a", " b"]


def test_a_message_whose_next_line_is_overdue_ends() -> None:
    codec = joining(continues=r"\s", timeout="2s")
    codec.decode(frames(b"a"), at(10.0))
    codec.decode(frames(b"x", peer=B), at(11.0))
    assert codec.next_deadline() == 12.0
    codec.decode(frames(b" b"), at(11.5))
    assert codec.next_deadline() == 13.0
    assert codec.tick(at(12.9)) is None
    assert texts(codec.tick(at(13.0))) == ["x"]
    assert codec.next_deadline() == 13.5
    assert texts(codec.tick(at(13.5))) == ["a\n b"]
    assert codec.next_deadline() is None


def test_a_call_that_is_late_gives_the_next_line_one_more_chance() -> None:
    codec = joining(continues=r"\s", timeout="1s")
    codec.decode(frames(b"a"), at(0.0))
    assert codec.tick(at(60.0)) is None
    assert texts(codec.decode(frames(b" b", b"c"), at(60.1))) == ["a\n b"]
    assert codec.tick(at(120.0)) is None
    assert codec.next_deadline() == 121.0
    assert texts(codec.tick(at(180.0))) == ["c"]


@pytest.mark.parametrize(
    ("limit", "parts"),
    [
        ({"max_lines": 2}, ["a\n b", " c\n d", " e"]),
        ({"max_bytes": "7B"}, ["a\n b\n c", " d\n e"]),
        ({"max_bytes": "6B"}, ["a\n b", " c\n d", " e"]),
    ],
)
def test_a_message_over_a_limit_is_divided_and_no_line_is_lost(limit: Any, parts: list[str]) -> None:
    codec = joining(continues=r"\s", **limit)
    done = codec.decode(frames(b"a", b" b", b" c", b" d", b" e", b"f"), at(0.0))
    assert texts(done) == parts
    assert done.frames is not None
    assert done.frames.flagged
    flags = [getattr(done.frames.payloads[origin], "flag", "") for origin in done.origins or ()]
    assert flags == ["divided"] * len(parts)
    assert codec.counts["divided_messages"] == len(parts) - 1
    assert texts(codec.finish(at(0.0))) == ["f"]


def test_a_flag_of_one_line_is_the_flag_of_its_message() -> None:
    codec = joining(continues=r"\s")
    done = codec.decode(frames(b"a", FlaggedFrame(b" b", "truncated"), b" c", b"d"), at(0.0))
    assert done.frames is not None
    assert done.origins == [2]
    assert getattr(done.frames.payloads[2], "flag", "") == "truncated"


def test_a_message_that_its_codec_rejects_keeps_all_its_bytes() -> None:
    codec = joining(Json(Json.Config(), None), start=r"\{")
    done = codec.decode(frames(b'{"a":', b"1}", b"{", b"no", b"{}"), at(0.0))
    assert done.records == [{"a": 1}]
    assert done.origins == [1]
    assert [(bad.index, bad.payload, bad.reason) for bad in done.rejects] == [(3, b"{\nno", "json:syntax")]


def test_records_with_a_schema_are_typed_if_the_codec_makes_them_so() -> None:
    schema = Schema("n", {"a": FieldSettings(type="int")})
    codec = joining(Json(Json.Config(), schema), start=r"\{")
    codec.typed = True
    done = codec.decode(frames(b'{"a":', b"1}", b'{"a":2}'), at(0.0))
    assert done.typed
    assert [schema.to_dict(record) for record in done.records] == [{"a": 1}]


def test_the_ack_of_a_read_is_settled_when_the_last_message_in_it_is() -> None:
    codec = joining(continues=r"\s")
    settled: list[tuple[int, Status]] = []
    first, second = (Ack(lambda status, n=n: settled.append((n, status))) for n in (1, 2))  # type: ignore[misc]
    done = codec.decode(frames(b"a", b" b", b"c", acks=Acks.same(first, 3)), at(0.0))
    assert done.frames is not None
    assert done.frames.acks is not None
    rows = done.frames.acks.of_origins(done.origins or [], together=True)
    assert rows is not None
    rows.settle(Status.DELIVERED)
    assert settled == []
    assert codec.holds_last
    done = codec.decode(frames(b" d", b"e", acks=Acks.same(second, 2)), at(0.0))
    assert done.frames is not None
    assert done.frames.acks is not None
    rows = done.frames.acks.of_origins(done.origins or [], together=True)
    assert rows is not None
    rows.settle(Status.DELIVERED)
    assert settled == [(1, Status.DELIVERED)]


def test_held_frames_are_the_last_ones_only_of_one_sender() -> None:
    codec = joining(start="x", continues="y")
    codec.decode(frames(b"x"), at(0.0))
    assert codec.holds_last
    codec.decode(frames(b"alone", peer=B), at(0.0))
    assert not codec.holds_last
    codec.forget(A, at(0.0))
    assert codec.holds_last


def test_a_reload_goes_on_with_the_open_messages_under_the_new_settings() -> None:
    old = joining(continues=r"\s", timeout="1s")
    old.decode(frames(b"a"), at(0.0))
    new = joining(continues="[+]", timeout="5s")
    assert new.can_adopt(old)
    assert not new.can_adopt(Text(Text.Config(), None))
    new.adopt(old)
    assert old.finish(at(0.0)) is None
    assert new.next_deadline() == 5.0
    assert texts(new.decode(frames(b"+b", b" c"), at(0.5))) == ["a\n+b"]


def test_frames_that_are_no_stream_are_whole_messages() -> None:
    codec = joining(continues=r"\s")
    codec.place_behind(streams=False, cut=False)
    assert texts(codec.decode(frames(b"a\n b", b" c"), at(0.0))) == ["a\n b", " c"]


def test_a_pattern_without_a_bound_and_a_codec_that_holds_are_refused() -> None:
    with pytest.raises(ConfigError, match="exponential") as refused:
        joining(start="(a+)+b")
    assert refused.value.keys == ("start",)
    with pytest.raises(ConfigError, match="the codec csv keeps frames"):
        joining(Csv(Csv.Config(), None), start="x")
    assert not MultilineSettings().joins
    with pytest.raises(ValueError, match="timeout does nothing without start or continues"):
        MultilineSettings.model_validate({"timeout": "2s"})


def test_of_a_line_longer_than_the_pattern_may_take_only_the_beginning_counts() -> None:
    codec = joining(start="x.*y.*end", max_bytes="1MiB")
    assert lines_of(messages(codec, b"xy end\nxy end")) == [1, 1]
    line = b"x" + b"y" * 100_000 + b"end"
    assert lines_of(messages(codec, line + b"\n" + line)) == [2]


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from([A, B]), st.sampled_from([b"a", b" b", b"c", b" ", b"x"])), max_size=12
    ),
    st.lists(st.integers(1, 12), max_size=5),
    st.integers(2, 4),
)
def test_however_lines_are_divided_over_batches_the_messages_are_the_same(
    lines: list[tuple[Peer, bytes]], sizes: list[int], max_lines: int
) -> None:
    def run(cuts: list[int]) -> dict[str, list[str]]:
        codec = joining(continues=r"\s", max_lines=max_lines)
        found: dict[str, list[str]] = {A: [], B: []}
        released = at_row = 0

        def note(done: Decoded | None) -> None:
            nonlocal released
            if done is None or done.frames is None:
                return
            assert done.origins == sorted(set(done.origins or ()))
            for record, origin in zip(done.records, done.origins or (), strict=True):
                found[done.frames.peer(origin)].append(record["message"])
            released += len(done.frames)

        for size in [*cuts, len(lines)]:
            part = lines[at_row : at_row + size]
            at_row += len(part)
            if part:
                peers = Column.each([peer for peer, _ in part], A)
                note(codec.decode(Frames([line for _, line in part], peers, Column(1e9)), at(0.0)))
        note(codec.finish(at(0.0)))
        assert released == len(lines)
        return found

    whole = run([])
    assert run(sizes) == whole
    assert run([1] * len(lines)) == whole
    for peer in (A, B):
        expected = "\n".join(line.decode() for sender, line in lines if sender == peer)
        assert "\n".join(whole[peer]) == expected
