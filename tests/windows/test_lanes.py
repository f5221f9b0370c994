"""Windows of typed records that never become dicts, against the same windows of dicts."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamd.codecs.json import Json
from streamd.core.ack import Ack, Status
from streamd.core.books import Books
from streamd.core.contracts import Processed, Step, StepContext
from streamd.core.dead_letter import LetterList
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.now import Now
from streamd.core.quality import Quality
from streamd.core.schema import FieldSettings, Schema
from streamd.core.settings import BufferSettings, Settings
from streamd.runtime.fanout import Fanout
from streamd.runtime.feed import Feed, Route
from streamd.runtime.intake import Intake
from streamd.runtime.pipeline import Pipeline
from streamd.runtime.schema_checks import SchemaChecks
from streamd.runtime.stage import Stage
from streamd.runtime.worker import Workers
from streamd.steps.window import Window

quick = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SCHEMA = Schema(
    "reading",
    {
        "ts": FieldSettings(type="timestamp"),
        "sensor": FieldSettings(type="str"),
        "line": FieldSettings(type="int", required=False),
        "value": FieldSettings(type="float", required=False),
        "ok": FieldSettings(type="bool", required=False),
    },
)
BEGIN_S = 1_769_846_400.0
MINUTES = {"size": "1m", "key": ["sensor"], "time": "ts", "watermark_delay": "5s"}
OPTIONS: list[dict[str, Any]] = [
    MINUTES,
    MINUTES | {"key": ["sensor", "line"]},
    MINUTES | {"key": ['meta("peer")'], "late": "drop"},
    MINUTES | {"key": ['meta("peer")', "line"], "watermark_by": "sender"},
    MINUTES | {"key": [], "watermark_by": "pipeline"},
    MINUTES | {"key": [], "time": None, "watermark_delay": None},
    MINUTES | {"kind": "sliding", "slide": "20s", "early": "10s"},
    MINUTES | {"kind": "session", "size": None, "gap": "7s"},
    MINUTES | {"max_keys": 2, "late": "update", "allowed_lateness": "1m"},
]
AGGREGATES = [
    {"n": "count()", "sum": "sum(value)", "low": "min(value)"},
    {"n": "count()", "last": "last(value)", "lines": "count(line)", "state": "last(ok)"},
]


class Halving(Step[Any]):
    """A step behind the window, which filters half of the results out."""

    def process(self, records: list[dict[str, Any]], now: Now) -> Processed:
        return Processed(records[::2], filtered=len(records) // 2)


class Lane:
    """A source, its codec and a pipeline with a window; typed records may stay flat in it or not."""

    def __init__(self, options: dict[str, Any], *, flat: bool) -> None:
        self.now = Now(BEGIN_S, 50.0)
        self.books, self.letters, self.quality = Books(), LetterList(), Quality()
        codec = Json(Settings(), SCHEMA)
        codec.typed = flat
        fields = frozenset(SCHEMA.names)
        self.step = Window(
            Window.Config(**options), StepContext("window[0]", "p", SCHEMA, Path(), fields=fields)
        )
        self.step.open()
        assert self.step.reads_columns
        stages = [
            Stage("window[0]", self.step),
            Stage("r", Halving(None, StepContext("r", "p", None, Path()))),
        ]
        fanout = Fanout([], self.books, self.letters)
        self.pipeline = Pipeline("p", stages, fanout, self.letters, lambda: self.now, self.books)
        self.intake = Intake(BufferSettings(), "block", self.books.source("s"))
        checks = SchemaChecks("s", SCHEMA, self.quality)
        route = Route(self.pipeline, self.books.pipeline("s", "p"))
        self.feed = Feed(self.intake.buffer, codec, self.intake.book, [route], checks=checks)
        self.workers = Workers([self.feed], self.letters, lambda: self.now, count=1, max_batch=100)
        self.settled: list[tuple[int, Status]] = []
        self.flat = 0
        """Batches that were flat before the step."""

    def send(self, number: int, payloads: list[bytes], peers: list[str], at_s: float, *, acked: bool) -> Any:
        self.now = Now(BEGIN_S + at_s, 50.0 + at_s)
        ack = Ack(lambda status: self.settled.append((number, status))) if acked else None
        flagged = any(isinstance(payload, FlaggedFrame) for payload in payloads)
        times = [self.now.wall_s - place / 8 for place in range(len(payloads))]
        frames = Frames.of(payloads, peers, times, ack=ack, flagged=flagged)
        process = self.step.process_columns

        def noted(columns: Any, now: Now) -> Processed:
            self.flat += type(columns).__name__ == "FlatColumns"
            return process(columns, now)

        self.step.process_columns = noted  # type: ignore[method-assign]
        passages = self.workers.process(self.feed, frames, self.now)
        del self.step.process_columns
        for passage in passages:
            batch = passage.batch
            assert batch.fields is None
            assert batch.lifted
            batch.settle(Status.DELIVERED)
            passage.turn.leave()
            return batch.records, [batch.peer(index) for index in range(len(batch))]
        return None

    def state(self) -> Any:
        """All that may differ afterwards."""
        book = self.books.pipeline("s", "p")
        quality = {key: (one.checked, one.failed, one.senders) for key, one in self.quality.take().items()}
        return (
            list(self.books.entries()), book.in_flight, self.letters.letters, quality, self.settled,
            self.step.context.counters, self.step.snapshot(), self.step.next_deadline(),
        )  # fmt: skip


def payload(row: dict[str, Any]) -> bytes:
    kind = row.pop("as")
    if row["ts"] is not None:
        row["ts"] += BEGIN_S
    text = json.dumps({name: value for name, value in row.items() if value is not None or kind == "null"})
    if kind == "cut":
        return text[:-3].encode()
    if kind == "flagged":
        return FlaggedFrame(text.encode(), "truncated")
    return (text[:-1] + ', "more": [1]}' if kind == "undeclared" else text).encode()


ROWS = st.fixed_dictionaries({
    "ts": st.integers(-60, 400).map(lambda at: at / 2) | st.sampled_from([None, 5000.0]),
    "sensor": st.sampled_from(["a", "b", "c", "é", "x" * 140]),
    "line": st.none() | st.integers(0, 2),
    "value": st.none() | st.floats(-50, 50) | st.integers(0, 9),
    "ok": st.none() | st.booleans(),
    "as": st.sampled_from(["plain"] * 40 + ["null", "cut", "undeclared", "flagged"]),
}).map(payload)  # fmt: skip
BATCHES = st.lists(
    st.tuples(
        st.lists(ROWS, min_size=1, max_size=25),
        st.lists(st.sampled_from(["192.0.2.1:5", "192.0.2.1:6", "192.0.2.2:5"]), min_size=1, max_size=3),
        st.booleans(),
    ),
    max_size=8,
)


@quick
@given(
    batches=BATCHES,
    options=st.sampled_from(OPTIONS),
    aggregate=st.sampled_from(AGGREGATES),
)
def test_rows_books_letters_and_state_are_the_same_on_both_lanes(
    batches: list[Any], options: dict[str, Any], aggregate: dict[str, str]
) -> None:
    flat, dicts = (Lane(options | {"aggregate": aggregate}, flat=is_flat) for is_flat in (True, False))
    for number, (payloads, peers, acked) in enumerate(batches):
        every = [peers[place % len(peers)] for place in range(len(payloads))]
        made = [lane.send(number, payloads, every, number * 20.0, acked=acked) for lane in (flat, dicts)]
        assert made[0] == made[1]
    assert dicts.flat == 0
    assert flat.state() == dicts.state()
    late = Now(BEGIN_S + 9e3, 50.0 + 9e3)
    assert flat.step.tick(late) == dicts.step.tick(late)


def test_the_batch_stays_flat_and_a_reject_becomes_the_record_it_was() -> None:
    lane = Lane(MINUTES | {"aggregate": {"n": "count()"}}, flat=True)
    good = b'{"ts": "2026-01-31T08:00:01Z", "sensor": "a", "value": 1}'
    bad = b'{"ts": "2026-01-31T09:00:00Z", "sensor": "a", "ok": true}'
    assert lane.send(0, [good, bad], ["192.0.2.1:5"] * 2, 2.0, acked=False) is None
    assert lane.flat == 1
    (letter,) = lane.letters.letters
    assert letter.reason == "window:future"
    assert letter.payload == {
        "ts": "2026-01-31T09:00:00.000000Z", "sensor": "a", "line": None, "value": None, "ok": True,
        "@source": "s", "@peer": "192.0.2.1:5", "@received_at": "2026-01-31T08:00:01.875000Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "reads"),
    [([], True), (["sensor"], True), (['meta("peer")', "line"], True), (["lower(sensor)"], False)],
)
def test_a_key_of_fields_is_read_as_columns(key: list[str], reads: bool) -> None:
    config = Window.Config(**MINUTES | {"key": key, "aggregate": {"n": "count()"}})
    assert Window(config, StepContext("window[0]", "p", SCHEMA, Path())).reads_columns is reads


def test_a_failure_of_the_step_rejects_the_records_of_the_batch() -> None:
    lane = Lane(MINUTES | {"aggregate": {"n": "count()"}}, flat=True)
    lane.step._reader = None  # type: ignore[assignment]  # a mistake in the step's own code
    assert lane.send(0, [b'{"ts": 1, "sensor": "a"}'], ["192.0.2.1:5"], 2.0, acked=True) is None
    (letter,) = lane.letters.letters
    assert letter.reason == "exception"
    assert isinstance(letter.payload, dict)
    assert letter.payload["sensor"] == "a"
    assert lane.settled == [(0, Status.REJECTED)]
