"""Chains of steps on the columns of typed records, against the same chains on dicts."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamd import registry
from streamd.codecs.json import Json
from streamd.core.ack import Ack, Status
from streamd.core.batch import Batch, Record
from streamd.core.books import Books
from streamd.core.contracts import Processed, Step, StepContext
from streamd.core.dead_letter import LetterList
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.now import Now
from streamd.core.quality import Quality
from streamd.core.settings import BufferSettings, Settings
from streamd.runtime.fanout import Fanout
from streamd.runtime.feed import Feed, Route
from streamd.runtime.intake import Intake
from streamd.runtime.pipeline import Pipeline
from streamd.runtime.stage import Stage
from streamd.runtime.worker import Workers
from streamd.sqlite.typed_rows import TypedRows
from tests.windows.test_lanes import BATCHES, BEGIN_S, SCHEMA

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Marking(Step[Any]):
    """Reads dicts, and changes them."""

    def process(self, records: list[Record], now: Now) -> Processed:
        for record in records:
            record["marked"] = len(record)
        return Processed(records)


def rules(*some: dict[str, Any]) -> dict[str, Any]:
    return {"rules": [{"name": f"r{place}", **one} for place, one in enumerate(some)]}


WINDOW = {
    "size": "1m",
    "key": ["sensor"],
    "time": "ts",
    "watermark_delay": "5s",
    "aggregate": {"n": "count()"},
}
ABOVE_3 = str(Path(__file__).parents[1] / "models/above_3.onnx")
NOTED = {"field": "line", "check": "not_null", "on_error": "flag"}
STEPS: list[tuple[str, dict[str, Any]]] = [
    ("filter", {"where": "value > 0"}),
    ("filter", {"where": "ok or line == 1"}),
    ("filter", {"where": "line * 2 > 1 and len(sensor) < 9"}),
    ("filter", {"where": "meta('peer') == '192.0.2.1:5'"}),
    ("filter", {"where": "meta('received_at') < '2026-01-31T08:00:30'"}),
    ("set", {"fields": {"value": "value * 1.8 + 32"}}),
    ("set", {"fields": {"value": "coalesce(value, 0.0) * 1e308 * 2.5"}}),
    ("set", {"fields": {"value": "line", "line": "coalesce(line, 3) + 1"}}),
    ("set", {"fields": {"sensor": "upper(sensor)", "unit": "'F'", "ok": "value > 3"}}),
    ("set", {"fields": {"ts": "meta('received_at')", "site": "line"}}),
    ("set", {"fields": {"sensor": "'x'", "value": "2.5", "line": "7", "ok": "True"}}),
    ("set", {"fields": {"a": "line"}, "remove": ["ok"]}),
    ("validate", rules({"field": "value", "check": "range", "ge": -10, "le": 40, "on_error": "reject"})),
    ("validate", rules(NOTED, {"field": "ok", "check": "not_null", "on_error": "reject"})),
    ("validate", rules({"field": "value", "check": "range", "le": 9, "on_error": "fix"})),
    ("validate", rules({"field": "line", "check": "one_of", "values": [0, 1], "on_error": "count"})),
    ("validate", rules({"check": "unique", "key": ["sensor"], "within": "20s", "on_error": "reject"})),
    ("dedupe", {"within": "30s"}),
    ("dedupe", {"key": ["sensor"], "within": "20s", "max_keys": 4}),
    ("dedupe", {"key": ["sensor", "line"], "within": "40s"}),
    ("dedupe", {"key": ["line"], "within": "40s"}),
    ("dedupe", {"key": ["lower(sensor)"], "within": "40s"}),
    ("anomaly", {"field": "value", "key": ["sensor"], "min_samples": 2, "threshold": 1}),
    ("anomaly", {"field": "line", "method": "hampel", "window": 5, "min_width": 1, "for": "1 of 2"}),
    ("anomaly", {"field": "value", "key": ["line", "ok"], "method": "quantile", "window": 5, "max_keys": 3}),
    ("anomaly", {"field": "value", "method": "seasonal", "season": "10s", "buckets": 2, "min_samples": 2}),
    ("window", WINDOW),
    ("model", {"file": ABOVE_3, "inputs": ["value"], "outputs": {"high": "label"}, "reason_field": "why"}),
    ("model", {"file": ABOVE_3, "inputs": {"X": "line"}, "outputs": ["label"], "on_missing": "reject"}),
    ("marking", {}),
]  # fmt: skip


class Lane:
    """A source with a codec, and a pipeline of steps; typed records may stay flat in it or not."""

    def __init__(
        self, steps: list[tuple[str, dict[str, Any]]], *, flat: bool, conditions: bool = False
    ) -> None:
        self.now = Now(BEGIN_S, 50.0)
        self.books, self.letters, self.quality = Books(), LetterList(), Quality()
        codec = Json(Settings(), SCHEMA)
        self.steps = [self._step(f"{name}[{n}]", name, options) for n, (name, options) in enumerate(steps)]
        stages = [Stage(step.context.name, step) for step in self.steps]
        fanout = Fanout([], self.books, self.letters)
        self.pipeline = Pipeline("p", stages, fanout, self.letters, lambda: self.now, self.books)
        codec.typed = flat and not self.pipeline.wants_dicts
        if not conditions:
            self.pipeline.flat_schemas["s"] = SCHEMA
        self.intake = Intake(BufferSettings(), "block", self.books.source("s"))
        route = Route(self.pipeline, self.books.pipeline("s", "p"))
        self.feed = Feed(self.intake.buffer, codec, self.intake.book, [route])
        self.workers = Workers([self.feed], self.letters, lambda: self.now, count=1, max_batch=100)
        self.settled: list[tuple[float, Status]] = []

    def _step(self, label: str, name: str, options: dict[str, Any]) -> Step[Any]:
        context = StepContext(label, "p", SCHEMA, Path(), quality=self.quality)
        if name == "marking":
            return Marking(None, context)
        cls = registry.load("steps", name)
        step: Step[Any] = cls(cls.Config(**options), context)
        step.open()
        return step

    def send(self, number: int, payloads: list[bytes], peers: list[str], runs: int) -> Batch | None:
        """The batch that would reach the sinks. The frames have `runs` acks, or none."""
        self.now = Now(BEGIN_S + number * 20.0, 50.0 + number * 20.0)
        times = [self.now.wall_s - place / 8 for place in range(len(payloads))]
        parts = []
        size = -(-len(payloads) // max(runs, 1))
        for start in range(0, len(payloads), size):
            cut = slice(start, start + size)
            ack = Ack(self._settler(number + start / 100)) if runs else None
            flagged = any(isinstance(payload, FlaggedFrame) for payload in payloads[cut])
            parts.append(Frames.of(payloads[cut], peers[cut], times[cut], ack=ack, flagged=flagged))
        frames = parts[0] if len(parts) == 1 else Frames.merge(parts)
        passages = self.workers.process(self.feed, frames, self.now)
        for passage in passages:
            passage.batch.settle(Status.DELIVERED)
            passage.turn.leave()
            return passage.batch
        return None

    def _settler(self, number: float) -> Any:
        return lambda status: self.settled.append((number, status))

    def state(self) -> Any:
        """All that may differ afterwards."""
        quality = {
            key: (one.checked, one.failed, one.fixed, one.senders) for key, one in self.quality.take().items()
        }
        return (
            list(self.books.entries()), self.letters.letters, quality, sorted(self.settled),
            [step.context.counters for step in self.steps], [step.snapshot() for step in self.steps],
        )  # fmt: skip


def rows_of(batch: Batch | None) -> Any:
    """The rows of the batch in a typed table, without the names of columns that are NULL everywhere."""
    if batch is None:
        return None
    rows = TypedRows(SCHEMA.fields, metadata=True, extra="json")
    assert rows.accepts_typed(SCHEMA)
    made = rows.of(batch)
    values = [
        {name: value for name, value in zip(made.columns, row, strict=True) if value is not None}
        for row in made.rows
    ]
    return values, [(bad.reason, bad.detail) for bad in made.rejects]


@quick
@given(
    batches=BATCHES,
    steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=4),
    runs=st.integers(0, 3),
    conditions=st.booleans(),
)
def test_rows_books_letters_and_states_are_the_same_on_both_lanes(
    batches: list[Any], steps: list[Any], runs: int, *, conditions: bool
) -> None:
    flat = Lane(steps, flat=True, conditions=conditions)
    dicts = Lane(steps, flat=False)
    for number, (payloads, peers, _) in enumerate(batches):
        every = [peers[place % len(peers)] for place in range(len(payloads))]
        one, other = (lane.send(number, payloads, every, runs) for lane in (flat, dicts))
        assert rows_of(one) == rows_of(other)
        if one is not None and other is not None and one.fields is None:
            assert [list(record.items()) for record in one.records] == [
                list(record.items()) for record in other.records
            ]
            assert one.size_bytes == other.size_bytes
    assert flat.state() == dicts.state()


CHAIN: list[tuple[str, dict[str, Any]]] = [STEPS[0], STEPS[5], STEPS[12], STEPS[19]]
LINES = [
    b'{"ts": "2026-01-31T08:00:00Z", "sensor": "a", "line": 1, "value": 4}',
    b'{"ts": "2026-01-31T08:00:01Z", "sensor": "b", "line": 1, "value": -4}',
    b'{"ts": "2026-01-31T08:00:02Z", "sensor": "a", "line": 1, "value": 4.5}',
]
PEERS = ["192.0.2.1:5", "192.0.2.1:6", "192.0.2.2:5"]


@pytest.mark.parametrize("runs", [0, 1, 3])
def test_a_chain_stays_flat_up_to_the_sinks(runs: int) -> None:
    batch = Lane(CHAIN, flat=True).send(0, LINES, PEERS, runs)
    assert batch is not None
    assert batch.fields == SCHEMA.names
    assert batch.records == ["2026-01-31T08:00:00.000000Z", "a", 1, 4 * 1.8 + 32, None]
    assert [batch.peer(0), batch.time(0)] == [PEERS[0], BEGIN_S]


@pytest.mark.parametrize(
    "steps",
    [
        [STEPS[8]],  # a new field
        [STEPS[7]],  # an int as the value of a float field
        [*CHAIN, ("marking", {})],
        [("set", {"fields": {"sensor": "coalesce(line, 'x')"}})],
    ],
)
def test_records_that_no_longer_suit_their_schema_become_dicts(steps: Any) -> None:
    batch = Lane(steps, flat=True).send(0, LINES, PEERS, 0)
    assert batch is not None
    assert batch.fields is None
    assert batch.records[0]["@peer"] == PEERS[0]


def test_one_value_that_does_not_suit_its_field_makes_dicts_of_all_parts_of_a_batch() -> None:
    steps = [("set", {"fields": {"value": "1.5 if line == 1 else line"}})]
    lines = [LINES[0], LINES[1].replace(b'"line": 1', b'"line": 2')]
    batch = Lane(steps, flat=True).send(0, lines, PEERS[:2], 2)
    assert batch is not None
    assert batch.fields is None
    assert [record["value"] for record in batch.records] == [1.5, 2]


def test_every_step_that_reads_columns_is_compared() -> None:
    names = {name for name, _ in STEPS if name != "marking"}
    read = {
        name for name in registry.names("steps") if "process_columns" in vars(registry.load("steps", name))
    }
    # The tests of these two compare it: one needs the file of a model, the other metrics.
    assert read == names | {"model", "statsd_aggregate"}
