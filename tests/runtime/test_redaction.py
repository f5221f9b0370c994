"""The redaction of what a codec returns, between the codec and everything that keeps or logs it."""

import json
from typing import Any

import pytest

from streamd.codecs.json import Json
from streamd.core.ack import Ack, Status
from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Codec, Decoded, Processed
from streamd.core.dead_letter import DeadLetter, Withheld
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.schema import FieldSettings, Schema
from streamd.core.settings import Settings
from streamd.core.traceback_lines import traceback_lines
from streamd.dead_letters.row import row_of
from streamd.runtime.feed import Route
from streamd.runtime.redaction import SourceRedaction
from streamd.runtime.schema_checks import SchemaChecks

WORD = "s3cret"


class Stars:
    """Replaces a secret word everywhere; withholds bytes that hold a NUL."""

    def record(self, record: Record) -> Record:
        if "unredactable" in record.values():
            raise RecursionError(f"too deep: {record}")
        return {
            key: value.replace(WORD, "***") if isinstance(value, str) else value
            for key, value in record.items()
            if key != "dropped"
        }

    def take_counts(self) -> dict[str, int]:
        return {"stars": 1}

    def payload(self, payload: bytes) -> bytes:
        if b"\0" in payload:
            return b"<withheld by redact: it is binary>"
        return payload.replace(WORD.encode(), b"***")


def one_network(peer: Peer) -> Peer:
    return Peer("127.0.0.0:0") if peer else peer


@pytest.fixture
def redacting(bench: Any) -> Any:
    def make(*functions: Any, **more: Any) -> Any:
        b = bench(*functions, **more)
        b.feed.redaction = SourceRedaction(Stars(), one_network)
        return b

    return make


def letters(b: Any) -> list[tuple[Any, ...]]:
    return [(x.payload, x.kind, x.stage, x.reason, x.detail, x.peer) for x in b.office.letters]


def test_steps_sinks_and_their_dead_letters_see_redacted_values_only(redacting: Any) -> None:
    seen: list[Any] = []

    def step(_: Any, records: list[Record]) -> Processed:
        seen.extend(dict(record) for record in records)
        return Processed(records[:1], rejects=[BadRecord(records[1], "why", f"bad: {records[1]['word']}")])

    b = redacting(step)
    b.intake.offer(b.frames(b"s3cret xs3cret"))
    batch = b.process(b.feed.buffer.take(10)[0])
    assert [(r["word"], r["@peer"]) for r in seen] == [("***", "127.0.0.0:0"), ("x***", "127.0.0.0:0")]
    assert batch.records == seen[:1]
    assert [(x.payload["word"], x.detail, x.peer) for x in b.office.letters] == [
        ("x***", "bad: x***", "127.0.0.0:0")
    ]
    book = b.records
    assert (book.taken_in, book.rejected, book.in_flight) == (2, {"step[0]": 1}, 1)


def test_without_a_step_the_batch_has_the_redacted_sender(redacting: Any) -> None:
    b = redacting()
    merged = Frames.merge([Frames.of([b"a"], "127.0.0.1:1", 1.0), Frames.of([b"b"], "127.0.0.2:2", 2.0)])
    batch = b.process(merged)
    assert [batch.peer(0), batch.peer(1)] == ["127.0.0.0:0", "127.0.0.0:0"]
    assert [batch.time(0), batch.time(1)] == [1.0, 2.0]


def test_every_pipeline_that_shares_the_source_gets_redacted_records(redacting: Any) -> None:
    b = redacting()
    b.feed.routes.append(Route(redacting().pipeline, b.books.pipeline("s", "q")))
    passages = b.workers.process(b.feed, b.frames(b"s3cret"), b.now())
    assert [passage.batch.records for passage in passages] == [[{"word": "***"}]] * 2


def test_rejected_frames_and_elements_are_redacted_and_lose_their_detail(redacting: Any) -> None:
    b = redacting()
    b.intake.offer(b.frames(b"a bad s3cret", b"BAD"))
    b.process(b.feed.buffer.take(10)[0])
    assert letters(b) == [
        (b"bad", "frame", "decode", "test:word", "", "127.0.0.0:0"),
        (b"BAD", "frame", "decode", "test:bad", "", "127.0.0.0:0"),
    ]
    book = b.feed.frames
    assert (book.received, book.decoded, book.rejected["test:bad"], book.waiting) == (2, 1, 1, 0)
    assert (b.records.taken_in, b.records.rejected["decode"]) == (3, 1)


@pytest.mark.parametrize(
    ("payload", "kept"),
    [
        (b'{"a": "s3cret"}', b'{"a": "***"}'),
        (b'{"a": "s\\u0033cret"}', b'{"a": "s\\u0033cret"}'),  # JSON: its values are the redactor's part
        (b'{"a": "s\\u0033cret"', b"<withheld by redact: 19 bytes>"),
        (b"\0s3cret", b"<withheld by redact: 7 bytes>"),
        (b"[" * 5000 + b"\\", b"<withheld by redact: 5001 bytes>"),
    ],
)
def test_bytes_are_kept_only_if_their_personal_data_can_be_found(payload: bytes, kept: bytes) -> None:
    found = SourceRedaction(Stars()).payload(payload)
    assert found == kept
    assert isinstance(found, Withheld) == kept.startswith(b"<")


def test_a_cut_frame_is_rejected_whole_since_half_a_value_is_not_found(redacting: Any) -> None:
    told: list[Status] = []
    b = redacting()
    frames = Frames.of(
        [b"one", FlaggedFrame(b"two bad s3cr", "truncated"), FlaggedFrame(b"three", "unterminated")],
        "127.0.0.1:5",
        1.0,
        ack=Ack(told.append),
        flagged=True,
    )
    b.intake.offer(frames)
    batch = b.process(b.feed.buffer.take(10)[0])
    assert batch.records == [{"word": "one"}, {"word": "three", "@flag": "unterminated"}]
    assert letters(b) == [
        (b"<withheld by redact: 12 bytes>", "withheld", "decode", "truncated", "", "127.0.0.0:0")
    ]
    book = b.feed.frames
    assert (book.received, book.decoded, book.rejected) == (3, 2, {"truncated": 1})
    assert (b.records.taken_in, b.records.in_flight) == (2, 2)
    batch.settle(Status.DELIVERED)
    assert told == [Status.REJECTED]


def test_a_record_that_cannot_be_redacted_is_rejected_without_its_content(redacting: Any) -> None:
    b = redacting()
    b.intake.offer(b.frames(b"a unredactable s3cret", b"c"))
    batch = b.process(b.feed.buffer.take(10)[0])
    assert [r["word"] for r in batch.records] == ["a", "***", "c"]
    assert letters(b) == [(b"<withheld by redact>", "withheld", "decode", "redact", "", "127.0.0.0:0")]
    assert (b.records.taken_in, b.records.rejected["decode"], b.records.in_flight) == (4, 1, 3)
    assert b.feed.frames.decoded == 2


def test_the_schema_is_counted_before_a_field_is_dropped(redacting: Any) -> None:
    schema = Schema(
        "reading",
        {
            "a": FieldSettings(type="int"),
            "dropped": FieldSettings(type="str", required=False),
            "gone": FieldSettings(type="str", required=False),
        },
    )
    b = redacting()
    b.feed.codec = Json(Settings(), schema)
    b.feed.redaction = SourceRedaction(Stars(), one_network, schema.fields)
    b.feed.checks = SchemaChecks("s", schema, b.books.quality)
    payloads = [{"a": 1, "dropped": WORD}, {"a": WORD}]
    b.intake.offer(b.frames(*(json.dumps(payload).encode() for payload in payloads)))
    batch = b.process(b.feed.buffer.take(10)[0])
    assert batch.records == [{"a": 1, "gone": None}]
    counts = {(key.field, key.rule): count for key, count in b.books.quality.take().items()}
    assert counts["dropped", "schema:null"].failed == 0
    assert counts["gone", "schema:null"].failed == 1
    assert counts["a", "schema:type"].failed == 1
    assert {count.checked for count in counts.values()} == {2}
    assert {host for count in counts.values() for host in count.senders} == {"127.0.0.0"}
    assert [(x.detail, [rule.field for rule in x.rules]) for x in b.office.letters] == [
        ("a: withheld", ["a"])
    ]


def test_a_placeholder_is_stored_as_it_is_under_every_policy() -> None:
    letter = DeadLetter(Withheld(b"<withheld by redact: 7 bytes>"), "decode", "json", source="lab")
    for keep in ("keep", "hash", "none"):
        assert row_of(letter, keep)[-2:] == ("withheld", b"<withheld by redact: 7 bytes>")


class Holding(Codec[Settings]):
    """Holds each frame until the next one, and its sender; raises at a frame of `FAIL`."""

    holds = True

    def __init__(self) -> None:
        super().__init__(self.Config(), None)
        self.held: Frames | None = None
        self.senders: list[Peer] = []

    def decode(self, frames: Frames, now: Now) -> Decoded:
        if frames.payloads[0] == b"FAIL":
            raise ValueError(f"cannot decode {frames.payloads} of {frames.peer(0)}")
        self.senders.append(frames.peer(0))
        released, self.held = self.held, frames
        if released is None:
            return Decoded([], [], frames=Frames.of([], "", 0.0))
        return Decoded([{"word": released.payloads[0].decode()}], [0], frames=released)


def test_a_codec_that_holds_frames_knows_their_senders_and_nothing_behind_it_does(redacting: Any) -> None:
    b = redacting()
    b.feed.codec = codec = Holding()
    passages = []
    for payload in (b"s3cret", b"b"):
        b.intake.offer(b.frames(payload))
        passages += b.workers._next(b.feed, b.now())
    assert codec.senders == ["127.0.0.1:5"] * 2
    assert [(p.batch.records, p.batch.peer(0)) for p in passages] == [([{"word": "***"}], "127.0.0.0:0")]
    assert (b.feed.frames.decoded, b.feed.frames.held) == (1, 1)


@pytest.mark.parametrize("redacted", [True, False])
def test_an_exception_of_such_a_codec_ends_the_worker_without_the_frame(
    bench: Any, redacting: Any, *, redacted: bool
) -> None:
    b = redacting() if redacted else bench()
    b.feed.codec = Holding()
    b.intake.offer(b.frames(b"FAIL"))
    with pytest.raises((RuntimeError, ValueError)) as failed:
        b.workers._next(b.feed, b.now())
    shown = "\n".join(traceback_lines(failed.value))
    assert ("127.0.0.1" in shown) == (not redacted)
    assert "raise ValueError" in shown, "the place of the mistake"
    if redacted:
        assert str(failed.value) == "the codec raised ValueError"
