import asyncio
from collections import Counter
from typing import Any

import pytest
import structlog

from streamd.codecs.json import Json
from streamd.core.ack import Ack, Status
from streamd.core.contracts import BadRecord, Decoded, Processed
from streamd.core.frames import FRAME_OVERHEAD_BYTES, FlaggedFrame, Frames
from streamd.core.now import Now
from streamd.core.schema import FieldSettings, Schema
from streamd.core.settings import BufferSettings
from streamd.runtime.feed import Feed, Route
from streamd.runtime.intake import Intake
from streamd.runtime.meter import SharedMeter
from streamd.runtime.turn import Line
from streamd.runtime.worker import QUANTUM_BYTES, Workers


def test_decoded_frames_and_bad_ones_are_in_the_books_and_the_dead_letters(bench: Any) -> None:
    b = bench()
    b.intake.offer(b.frames(b"one two", b"BAD", b"three bad"))
    batch = b.process(b.feed.buffer.take(10)[0])
    assert [r["word"] for r in batch.records] == ["one", "two", "three"]
    book, records = b.feed.frames, b.records
    assert (book.received, book.decoded, book.rejected["test:bad"], book.waiting) == (3, 2, 1, 0)
    assert (records.taken_in, records.rejected["decode"], records.in_flight) == (4, 1, 3)
    assert [(x.payload, x.stage, x.reason, x.peer) for x in b.office.letters] == [
        (b"BAD", "decode", "test:bad", "127.0.0.1:5"),
        (b"bad", "decode", "test:word", "127.0.0.1:5"),
    ]


def test_each_record_keeps_the_peer_and_time_of_its_own_frame(bench: Any) -> None:
    b = bench(lambda _, records: Processed(records))
    merged = Frames.merge([Frames.of([b"a b"], "x:1", 1.0), Frames.of([b"BAD", b"c"], "y:2", 2.0)])
    batch = b.process(merged)
    assert [(r["word"], r["@peer"], r["@received_at"]) for r in batch.records] == [
        ("a", "x:1", "1970-01-01T00:00:01.000000Z"),
        ("b", "x:1", "1970-01-01T00:00:01.000000Z"),
        ("c", "y:2", "1970-01-01T00:00:02.000000Z"),
    ]
    assert batch.peer(2) == "y:2"


def test_without_steps_the_metadata_stay_beside_the_records(bench: Any) -> None:
    b = bench()
    batch = b.process(b.frames(b"a b"))
    assert batch.records == [{"word": "a"}, {"word": "b"}]
    assert batch.peer(1) == "127.0.0.1:5"


def test_the_flag_of_a_frame_is_on_each_of_its_records_only(bench: Any) -> None:
    b = bench()
    frames = b.frames(b"a", FlaggedFrame(b"b", "truncated"))
    frames.flagged = True
    batch = b.process(frames)
    assert batch.records == [{"word": "a"}, {"word": "b", "@flag": "truncated"}]


def test_steps_filter_absorb_emit_and_reject_by_the_books(bench: Any) -> None:
    def step(_: Any, records: list[Any]) -> Processed:
        return Processed(
            [records[0]] * 3, filtered=1, emitted=2, rejects=[BadRecord(records[2], "why", "so")]
        )

    b = bench(step, lambda _, records: Processed([], absorbed=len(records)))
    b.intake.offer(b.frames(b"a b c"))
    assert b.process(b.feed.buffer.take(10)[0]) is None
    book = b.records
    assert (book.taken_in, book.emitted, book.filtered, book.absorbed) == (3, 2, 1, 3)
    assert book.rejected == {"step[0]": 1}
    assert book.in_flight == 0
    assert [(x.stage, x.reason, x.detail) for x in b.office.letters] == [("step[0]", "why", "so")]


def test_a_step_that_raises_costs_its_batch_and_is_logged_once(bench: Any, monkeypatch: Any) -> None:
    logged: list[Any] = []
    monkeypatch.setattr("streamd.runtime.step_log.log.error", lambda *_, **fields: logged.append(fields))

    def step(_: Any, records: list[Any]) -> Processed:
        raise KeyError(records[0]["word"])

    b = bench(step)
    for word in (b"a b", b"c"):
        b.intake.offer(b.frames(word))
        assert b.process(b.feed.buffer.take(10)[0]) is None
    assert b.records.rejected == {"step[0]": 3}
    assert b.records.in_flight == 0
    assert [x.payload["word"] for x in b.office.letters] == ["a", "b", "c"]
    assert len(logged) == 1
    assert isinstance(logged[0]["exc_info"], KeyError)


def test_an_ack_learns_the_worst_that_became_of_its_frames(bench: Any) -> None:
    for payload, functions, expected in (
        (b"BAD", [], Status.REJECTED),
        (b"a", [lambda _, r: Processed([], filtered=len(r))], Status.FILTERED),
        (b"a bad", [lambda _, r: Processed([], filtered=len(r))], Status.REJECTED),
    ):
        told: list[Status] = []
        b = bench(*functions)
        b.process(b.frames(payload, ack=Ack(told.append)))
        assert told == [expected]


async def test_workers_finish_what_waits_in_order_and_then_return(bench: Any) -> None:
    b = bench(workers=4)
    words = [f"w{n:03}".encode() for n in range(100)]
    running = asyncio.create_task(b.workers.run())
    delivering = asyncio.create_task(b.deliveries[0].run())
    for word in words:
        b.intake.offer(b.frames(word))
        await asyncio.sleep(0)
    b.workers.close()
    await running
    b.deliveries[0].buffer.close()
    await delivering
    assert [r["word"] for r in b.sinks[0].written] == [w.decode() for w in words]
    assert b.balanced


async def test_a_blocked_sink_is_given_at_most_one_batch_a_worker_too_many(bench: Any) -> None:
    b = bench(workers=2)
    running = asyncio.create_task(b.workers.run())
    for n in range(40):
        b.intake.offer(b.frames(b"w%d" % n))
    for _ in range(100):
        await asyncio.sleep(0)
    delivery = b.books.delivery("s", "p", "list0")
    assert 10 < delivery.offered <= 10 + 2 * 3
    assert delivery.pending == b.deliveries[0].buffer.records
    assert b.feed.frames.waiting == b.intake.buffer.records > 20
    assert b.records.out == delivery.offered
    delivering = asyncio.create_task(b.deliveries[0].run())
    b.workers.close()
    await running
    b.deliveries[0].buffer.close()
    await delivering
    assert [r["word"] for r in b.sinks[0].written] == [f"w{n}" for n in range(40)]
    assert b.balanced


async def drained(b: Any) -> None:
    b.workers.close()
    delivering = [asyncio.create_task(delivery.run()) for delivery in b.deliveries]
    await b.workers.run()
    for delivery in b.deliveries:
        delivery.buffer.close()
    await asyncio.gather(*delivering)


async def test_a_sink_with_a_condition_gets_its_records_and_each_other_one_has_a_fate(bench: Any) -> None:
    b = bench(sinks=2, where={1: "word < 5 or word == 'b'"})
    b.feed.codec.decode_one = lambda payload, _: {
        "word": int(payload) if payload.isdigit() else payload.decode()
    }
    told: list[Status] = []
    b.intake.offer(b.frames(b"1", b"9", b"b", ack=Ack(told.append)))
    await drained(b)
    assert [[r["word"] for r in sink.written] for sink in b.sinks] == [[1, 9, "b"], [1]]
    assert b.sinks[1].written[0]["@peer"] == "127.0.0.1:5"
    book = b.books.delivery("s", "p", "list1")
    assert (book.offered, book.stored, book.unmatched, book.rejected) == (3, 1, 1, 1)
    assert [(x.stage, x.reason, x.sink, x.peer) for x in b.office.letters] == [
        ("where", "expr:type", "list1", "127.0.0.1:5")
    ]
    assert told == [Status.REJECTED]
    assert b.balanced


async def test_records_that_match_nowhere_count_as_filtered(bench: Any) -> None:
    told: list[Status] = []
    b = bench(where={0: "word == 'never'"})
    b.intake.offer(b.frames(b"a b", ack=Ack(told.append)))
    await drained(b)
    assert told == [Status.FILTERED]
    assert b.books.delivery("s", "p", "list0").unmatched == 2
    assert b.balanced


async def test_the_selected_part_has_its_share_of_the_memory(bench: Any) -> None:
    b = bench(where={0: "word == 'a'"})
    batch = b.process(b.frames(b"a b c d"))
    whole = batch.size_bytes
    b.pipeline.fanout.put(batch, b.records)
    assert (b.deliveries[0].buffer.records, b.deliveries[0].buffer.size_bytes) == (1, whole // 4)


async def test_the_order_is_the_same_at_every_sink(bench: Any) -> None:
    b = bench(workers=5, sinks=2)
    words = [f"w{n:03}" for n in range(300)]
    for word in words:
        b.intake.offer(b.frames(word.encode()))
    await drained(b)
    assert [[r["word"] for r in sink.written] for sink in b.sinks] == [words, words]


def second_pipeline(b: Any, function: Any) -> None:
    """A pipeline `q` beside `p`, with a step, to a sink of its own."""
    q = type(b)(function)
    q.pipeline.name = "q"
    q.pipeline.fanout._books = b.books
    q.deliveries[0]._books = b.books
    q.deliveries[0].name = q.pipeline.fanout.outputs[0].sink = "other"
    b.deliveries += q.deliveries
    b.sinks += q.sinks
    b.feed.routes.append(Route(q.pipeline, b.books.pipeline("s", "q")))


async def test_pipelines_on_one_source_have_records_and_books_of_their_own(bench: Any) -> None:
    def shout(_: Any, records: list[Any]) -> Processed:
        for record in records:
            record["word"] = record["word"].upper()
            record["deep"][0]["x"] += 1
        return Processed(records[:1], filtered=len(records) - 1)

    told: list[Status] = []
    b = bench()
    second_pipeline(b, shout)
    b.feed.codec.decode_one = lambda payload, _: {"word": payload.decode(), "deep": [{"x": 0}]}
    b.intake.offer(b.frames(b"a", b"b", ack=Ack(told.append)))
    await drained(b)
    assert [(r["word"], r["deep"]) for r in b.sinks[0].written] == [("a", [{"x": 0}]), ("b", [{"x": 0}])]
    assert [(r["word"], r["deep"]) for r in b.sinks[1].written] == [("A", [{"x": 1}])]
    assert b.feed.frames.decoded == 2
    assert [b.books.pipeline("s", name).out for name in "pq"] == [2, 1]
    assert told == [Status.DELIVERED]
    assert b.balanced


async def test_a_bad_frame_of_a_shared_source_is_one_dead_letter_of_no_pipeline(bench: Any) -> None:
    b = bench()
    second_pipeline(b, lambda _, records: Processed(records))
    b.intake.offer(b.frames(b"BAD", b"a bad"))
    await drained(b)
    assert [(x.reason, x.pipeline) for x in b.office.letters] == [("test:bad", None), ("test:word", None)]
    assert [b.books.pipeline("s", name).rejected for name in "pq"] == [{"decode": 1}, {"decode": 1}]
    assert b.balanced


async def test_sources_are_served_the_same_number_of_bytes_while_both_have_something(bench: Any) -> None:
    b = bench(workers=3)
    feeds = [
        Feed(
            Intake(
                BufferSettings.model_validate({"max_records": 10**6}), "block", b.books.source(name)
            ).buffer,
            b.feed.codec,
            b.books.source(name),
            b.feed.routes,
        )
        for name in ("small", "large", "idle")
    ]
    for feed, size_bytes, count in zip(feeds, (20, 20_000), (30_000, 300), strict=False):
        feed.buffer.max_taken_bytes = QUANTUM_BYTES
        for _ in range(10):
            feed.buffer.put(Frames.of([b"x" * size_bytes] * (count // 10), "127.0.0.1:1", 1.0))
    workers = Workers(feeds, b.office, b.now, count=3, max_batch=512)
    served = Counter[int]()
    gaps = []

    def process(feed: Feed, frames: Frames, now: Now) -> list[Any]:
        del now
        served[feeds.index(feed)] += frames.size_bytes
        if all(feed.buffer.records for feed in feeds[:2]):
            gaps.append(abs(served[0] - served[1]))
        return []

    workers.process = process  # type: ignore[method-assign]  # only the order is looked at
    workers.close()
    await workers.run()
    assert len(gaps) > 50
    assert max(gaps) <= 2 * QUANTUM_BYTES
    assert not any(feed.buffer.records for feed in feeds)


async def test_workers_that_retire_finish_a_source_that_goes_though_another_waits_for_room(
    bench: Any,
) -> None:
    b = bench(workers=1)
    frames = b.books.source("going")
    intake = Intake(BufferSettings.model_validate({"max_records": 10**6}), "block", frames)
    other = bench()  # with a sink of its own, that has room
    going = Feed(intake.buffer, b.feed.codec, frames, other.feed.routes)
    b.workers.feeds.append(going)
    running = asyncio.create_task(b.workers.run())
    for n in range(40):
        b.intake.offer(b.frames(b"w%d" % n))
    for _ in range(100):
        await asyncio.sleep(0)
    waiting = b.feed.frames.waiting
    intake.buffer.on_ready = None
    intake.offer(b.frames(b"last"))
    b.workers.retire(lambda feed: feed is going)
    await asyncio.wait_for(running, 30)
    assert frames.decoded == 1
    assert b.feed.frames.waiting == waiting > 0, "others go on with it"


async def test_a_batch_that_is_given_up_tells_who_waits_for_it(bench: Any) -> None:
    told: list[Status] = []
    b = bench()
    passage = b.workers.process(b.feed, b.frames(b"a", ack=Ack(told.append)), b.now())[0]
    passage.turn._before = type(passage.turn)(None)  # somebody who never leaves
    carrying = asyncio.create_task(
        b.pipeline.carry(passage.batch, passage.route.records, passage.index, passage.turn)
    )
    await asyncio.sleep(0)
    carrying.cancel()
    await asyncio.wait({carrying})
    assert told == [Status.DROPPED]


class SlowOffice:
    """Keeps dead letters, and settles their acks when a test says that they are committed."""

    def __init__(self) -> None:
        self.letters: list[Any] = []
        self.acks: list[Ack | None] = []

    def keep(self, letters: list[Any], ack: Ack | None = None) -> None:
        self.letters += letters
        self.acks.append(ack)

    def committed(self) -> None:
        for ack in self.acks:
            if ack is not None:
                ack.settle(Status.REJECTED)


def with_slow_office(b: Any) -> SlowOffice:
    office = SlowOffice()
    b.workers._dead_letters = b.pipeline._dead_letters = b.pipeline.fanout._dead_letters = office
    return office


async def test_a_worker_gets_on_while_only_bad_frames_come(bench: Any) -> None:
    b = bench(workers=1)
    running = asyncio.create_task(b.workers.run())
    for n in range(1, 5):
        before = b.workers.progress
        b.intake.offer(b.frames(b"BAD"))
        while b.intake.buffer.records:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert b.workers.progress > before
        assert (b.feed.frames.decoded, b.feed.frames.rejected["test:bad"]) == (0, n)
    b.workers.close()
    await running


async def test_a_worker_gets_on_while_a_step_filters_everything_and_while_all_is_stored(bench: Any) -> None:
    for step in (
        lambda _, records: Processed([], filtered=len(records)),
        lambda _, records: Processed(records),
    ):
        b = bench(step, workers=1)
        for n in range(4):
            b.intake.offer(b.frames(b"w%d" % n))
        await drained(b)
        assert b.workers.progress == b.workers.meter.batches == 2, "of three frames at most"


async def test_others_have_their_turn_between_two_batches(bench: Any) -> None:
    b = bench(workers=1)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    seen: list[int] = []
    process = b.workers.process

    def noting(feed: Feed, frames: Frames, now: Now) -> Any:
        seen.append(turns)
        return process(feed, frames, now)

    b.workers.process = noting
    for n in range(9):
        b.intake.offer(b.frames(b"w%d" % n))
    other = asyncio.create_task(others())
    await drained(b)
    other.cancel()
    assert len(seen) == len(set(seen)) == 3


async def test_what_comes_from_any_source_wakes_a_worker(bench: Any) -> None:
    b = bench(workers=2)
    second = Intake(BufferSettings.model_validate({}), "block", b.books.source("second"))
    b.workers.feeds.append(Feed(second.buffer, b.feed.codec, second.book, b.feed.routes))
    running = asyncio.create_task(b.workers.run())
    for _ in range(5):
        await asyncio.sleep(0)
    for intake in (second, b.intake, second):
        intake.offer(b.frames(b"a"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert intake.book.waiting == 0
    b.workers.close()
    await running


def test_there_is_a_worker_more_for_each_batch_that_waits_in_a_step_of_each_pipeline_once(bench: Any) -> None:
    b = bench(lambda _, records: Processed(records))
    b.pipeline.stages[0].offloaded = type("Waiting", (), {"concurrency": 5})()
    twice = Feed(b.intake.buffer, b.feed.codec, b.books.source("second"), b.feed.routes)
    workers = Workers([b.feed, twice], b.office, b.now, count=2, max_batch=3)
    assert workers.count == 2 + 5
    assert workers.pipelines == [b.pipeline]


async def test_waiting_steps_are_closed_however_the_workers_end(bench: Any) -> None:
    closed: list[str] = []

    class Waiting:
        concurrency = 1

        def __init__(self, name: str) -> None:
            self.name = name

        async def close(self) -> None:
            closed.append(self.name)

    for cancel in (False, True):
        closed.clear()
        b = bench(*[lambda _, records: Processed(records)] * 3)
        for step, name in zip(b.pipeline.stages[:2], ("own", "handed on"), strict=True):
            step.offloaded = Waiting(name)
        b.pipeline.handed_on = [b.pipeline.stages[1]]
        running = asyncio.create_task(b.workers.run())
        await asyncio.sleep(0)
        if cancel:
            running.cancel()
        else:
            b.workers.close()
        await asyncio.wait({running})
        assert closed == ["own"]


@pytest.mark.parametrize("full", [0, 1])
async def test_nothing_is_taken_while_a_sink_of_one_of_its_pipelines_has_no_room(
    bench: Any, full: int
) -> None:
    b = bench(workers=1)
    second_pipeline(b, lambda _, records: Processed(records))
    stuck, fine = b.deliveries[full], b.deliveries[1 - full]
    running = asyncio.create_task(b.workers.run())
    delivering = asyncio.create_task(fine.run())
    for n in range(60):
        b.intake.offer(b.frames(b"w%d" % n))
    for _ in range(300):
        await asyncio.sleep(0)
    assert 10 <= stuck.buffer.records <= 10 + 3
    assert b.feed.frames.waiting == b.intake.buffer.records >= 60 - 10 - 3
    others = asyncio.create_task(stuck.run())
    b.workers.close()
    await running
    for delivery in b.deliveries:
        delivery.buffer.close()
    await asyncio.gather(delivering, others)
    assert [len(sink.written) for sink in b.sinks] == [60, 60]
    assert b.balanced


def test_a_dead_letter_of_a_mixed_batch_has_the_peer_and_time_of_its_own_frame(bench: Any) -> None:
    b = bench()
    merged = Frames.merge(
        [
            Frames.of([b"a"], "10.0.0.1:1", 1.0),
            Frames.of([b"BAD", b"b"], ["10.0.0.2:2", "10.0.0.3:3"], [2.0, 3.0]),
            Frames.of([b"c", b"d bad"], "10.0.0.4:4", 4.0),
        ]
    )
    b.process(merged)
    assert [(x.payload, x.peer, x.received_at, x.source, x.pipeline) for x in b.office.letters] == [
        (b"BAD", "10.0.0.2:2", 2.0, "s", "p"),
        (b"bad", "10.0.0.4:4", 4.0, "s", "p"),
    ]


@pytest.mark.parametrize("merged", [True, False])
def test_a_steps_dead_letter_of_a_mixed_batch_has_the_peer_and_time_of_its_own_record(
    bench: Any, merged: bool
) -> None:
    b = bench(lambda _, records: Processed(records[:1], rejects=[BadRecord(r, "no") for r in records[1:]]))
    peers = ["10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3"]
    frames = [
        Frames.of([word], peer, 1e9 + n)
        for n, (word, peer) in enumerate(zip((b"a", b"b", b"c"), peers, strict=True))
    ]
    b.process(Frames.merge(frames) if merged else Frames.of([b"a", b"b", b"c"], peers, 5.25))
    times = [1e9 + 1, 1e9 + 2] if merged else [5.25, 5.25]
    assert [(x.peer, x.received_at) for x in b.office.letters] == list(zip(peers[1:], times, strict=True))


def test_a_record_that_a_step_has_made_has_the_time_of_its_batch(bench: Any) -> None:
    made = [{}, {"@received_at": 5}, {"@received_at": "soon"}, {"@received_at": "2026-01-31T08:00:00"}, 7]
    b = bench(lambda _, records: Processed(records, emitted=5, rejects=[BadRecord(r, "no") for r in made]))
    b.process(Frames.of([b"a"], "10.0.0.1:1", 1e9 + 1))
    assert [(x.peer, x.received_at) for x in b.office.letters] == [(None, 1e9 + 1)] * 5


async def test_a_conditions_dead_letter_of_a_mixed_batch_has_the_peer_and_time_of_its_own_record(
    bench: Any,
) -> None:
    b = bench(where={0: "word < 5"})
    b.feed.codec.decode_one = lambda payload, _: {"word": int(payload) if payload.isdigit() else "text"}
    b.intake.offer(Frames.of([b"1", b"9"], "10.0.0.1:1", 1.0))
    b.intake.offer(Frames.of([b"x"], "10.0.0.2:2", 2.0))
    await drained(b)
    assert [(x.peer, x.received_at, x.source, x.pipeline, x.sink) for x in b.office.letters] == [
        ("10.0.0.2:2", 2.0, "s", "p", "list0")
    ]
    assert b.balanced


@pytest.mark.parametrize(
    ("payloads", "kept"),
    [((b"BAD",), 1), ((b"a", b"BAD"), 1), ((b"bad",), 1), ((b"a bad b bad", b"BAD"), 1)],
)
async def test_a_sender_is_answered_only_after_the_dead_letters_are_committed(
    bench: Any, payloads: tuple[bytes, ...], kept: int
) -> None:
    told: list[Status] = []
    b = bench()
    office = with_slow_office(b)
    b.intake.offer(b.frames(*payloads, ack=Ack(told.append)))
    await drained(b)
    assert told == []
    assert len(office.acks) == kept
    office.committed()
    assert told == [Status.REJECTED]


async def test_a_sender_is_answered_only_after_the_dead_letters_of_a_step_are_committed(bench: Any) -> None:
    told: list[Status] = []
    b = bench(lambda _, records: Processed(records[1:], rejects=[BadRecord(records[0], "no")]))
    office = with_slow_office(b)
    b.intake.offer(b.frames(b"a b", ack=Ack(told.append)))
    b.intake.offer(b.frames(b"c", ack=Ack(told.append)))
    await drained(b)
    assert told == []
    office.committed()
    assert told == [Status.REJECTED] * 2


async def test_a_sender_is_answered_only_after_the_dead_letters_of_a_condition_are_committed(
    bench: Any,
) -> None:
    told: list[Status] = []
    b = bench(where={0: "word < 5"})
    b.feed.codec.decode_one = lambda payload, _: {"word": int(payload) if payload.isdigit() else "text"}
    office = with_slow_office(b)
    b.intake.offer(b.frames(b"1", b"x", ack=Ack(told.append)))
    await drained(b)
    assert len(b.sinks[0].written) == 1
    assert told == []
    office.committed()
    assert told == [Status.REJECTED]


async def test_a_batch_of_which_a_step_leaves_nothing_is_answered_as_filtered(bench: Any) -> None:
    told: list[Status] = []
    b = bench(lambda _, records: Processed([], filtered=len(records)))
    b.intake.offer(b.frames(b"a b", ack=Ack(told.append)))
    await drained(b)
    assert told == [Status.FILTERED]


async def test_each_sink_of_each_pipeline_holds_the_ack(bench: Any) -> None:
    told: list[Status] = []
    b = bench(sinks=2)
    second_pipeline(b, lambda _, records: Processed(records))
    b.intake.offer(b.frames(b"a", ack=Ack(told.append)))
    b.workers.close()
    await b.workers.run()
    for n, delivery in enumerate(b.deliveries):
        assert told == [], n
        delivery.buffer.close()
        await delivery.run()
    assert told == [Status.DELIVERED]
    assert b.balanced


def test_what_a_codec_counts_is_in_the_book_of_its_source(bench: Any) -> None:
    b = bench()
    decode = b.feed.codec.decode

    def noting(frames: Frames, now: Any) -> Any:
        b.feed.codec.count("auto_fallback", len(frames))
        b.feed.codec.count("truncated")
        return decode(frames, now)

    b.feed.codec.decode = noting
    b.feed.codec.counters = {"auto_fallback": "kept as text", "truncated": "cut"}
    b.process(b.frames(b"a", b"b"))
    b.process(b.frames(b"c"))
    assert b.feed.frames.counters.meanings == b.feed.codec.counters
    assert b.feed.frames.counters == {("auto_fallback", ""): 3, ("truncated", ""): 2}


def test_each_record_of_a_frame_has_its_flag_whatever_came_before(bench: Any) -> None:
    b = bench()
    frames = b.frames(b"a b", b"BAD", FlaggedFrame(b"c bad d", "truncated"), b"e")
    frames.flagged = True
    assert b.process(frames).records == [
        {"word": "a"}, {"word": "b"}, {"word": "c", "@flag": "truncated"},
        {"word": "d", "@flag": "truncated"}, {"word": "e"},
    ]  # fmt: skip


def typed_feed(b: Any) -> Schema:
    schema = Schema(
        "x",
        {name: FieldSettings.model_validate({"type": type_}) for name, type_ in (("n", "int"), ("t", "str"))},
    )
    b.feed.codec = Json(Json.Config.model_validate({}), schema)
    b.feed.codec.typed = True
    return schema


async def test_flat_records_of_two_pipelines_are_flat_in_both_and_take_half_the_memory(bench: Any) -> None:
    b = bench()
    second_pipeline(b, lambda _, records: Processed(records))
    b.feed.routes[1].pipeline.stages.clear()
    typed_feed(b)
    payloads = [b'{"n": 1, "t": "x"}', b'{"n": 2, "t": "y"}']
    frames = b.frames(*payloads)
    passages = b.workers.process(b.feed, frames, b.now())
    assert [passage.batch.records for passage in passages] == [[1, "x", 2, "y"]] * 2
    assert [passage.batch.fields for passage in passages] == [("n", "t")] * 2
    assert [len(passage.batch) for passage in passages] == [2, 2]
    whole = b.feed.codec.decode(frames, b.now()).size_bytes
    assert [passage.batch.size_bytes for passage in passages] == [whole // 2] * 2


@pytest.mark.parametrize("flat", [True, False])
async def test_pipelines_do_not_share_dicts_and_lists(bench: Any, *, flat: bool) -> None:
    def changing(_: Any, records: list[Any]) -> Processed:
        for record in records:
            record["j"]["x"].append("changed")
        return Processed(records)

    b = bench()
    second_pipeline(b, changing)
    b.feed.routes[0].pipeline.stages.append(b.feed.routes[1].pipeline.stages[0])
    b.feed.codec = Json(
        Json.Config.model_validate({}), Schema("x", {"j": FieldSettings.model_validate({"type": "json"})})
    )
    b.feed.codec.typed = flat
    if flat:
        for route in b.feed.routes:
            route.pipeline.stages[0].step.reads_columns = True
    passages = b.workers.process(b.feed, b.frames(b'{"j": {"x": []}}'), b.now())
    assert [passage.batch.records[0]["j"] for passage in passages] == [{"x": ["changed"]}] * 2


def test_the_twin_of_a_batch_takes_its_memory_again(bench: Any) -> None:
    b = bench()
    second_pipeline(b, lambda _, records: Processed(records))
    frames = b.frames(b"a b", b"c")
    passages = b.workers.process(b.feed, frames, b.now())
    counted_bytes = (frames.size_bytes + FRAME_OVERHEAD_BYTES) * 8  # the first frame holds two records
    assert [passage.batch.size_bytes for passage in passages] == [counted_bytes] * 2
    assert {passage.batch.pipeline for passage in passages} == {"p", "q"}
    assert [passage.route.pipeline.name for passage in passages] == [
        passage.batch.pipeline for passage in passages
    ]


def test_a_flagged_frame_takes_its_batch_off_the_fast_lane_with_all_its_values(bench: Any) -> None:
    b = bench()
    typed_feed(b)
    frames = b.frames(b'{"n": 1, "t": "x"}', FlaggedFrame(b'{"n": 2, "t": "y"}', "truncated"))
    frames.flagged = True
    batch = b.process(frames)
    assert batch.fields is None
    assert batch.records == [{"n": 1, "t": "x"}, {"n": 2, "t": "y", "@flag": "truncated"}]
    assert len(batch) == 2


async def test_what_a_source_was_served_beyond_its_turn_it_waits_for_and_saves_none_up(bench: Any) -> None:
    """The next ones are judged by bytes: a large item is paid for with turns, an idle time brings none."""
    b = bench(workers=1)
    feeds = []
    for name in ("large", "small"):
        intake = Intake(BufferSettings.model_validate({"max_records": 10**6}), "block", b.books.source(name))
        intake.buffer.max_taken_bytes = 10**9
        feeds.append(Feed(intake.buffer, b.feed.codec, intake.book, b.feed.routes))
    workers = Workers(feeds, b.office, b.now, count=1, max_batch=1)
    order: list[int] = []

    def process(feed: Feed, frames: Frames, now: Now) -> list[Any]:
        del frames, now
        order.append(feeds.index(feed))
        return []

    workers.process = process  # type: ignore[method-assign]  # only the order is looked at
    piece = b.frames(b"x" * (QUANTUM_BYTES - 48))
    for _ in range(8):
        feeds[0].buffer.put(b.frames(b"x" * (4 * QUANTUM_BYTES - 48)))
    for _ in range(40):
        feeds[1].buffer.put(Frames.of(list(piece.payloads), "127.0.0.1:5", 1.0))
    workers.close()
    await workers.run()
    first_large = order.index(0)
    both = order[first_large : first_large + 20]
    assert both.count(0) == 4, both


def stuck_with(b: Any, n: int) -> None:
    for k in range(n):
        b.intake.offer(b.frames(b"w%d" % k))


async def some_turns() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


async def test_workers_that_retire_finish_a_source_that_waits_for_room_once_there_is_some(bench: Any) -> None:
    b = bench(workers=2)
    running = asyncio.create_task(b.workers.run())
    stuck_with(b, 40)
    await some_turns()
    b.workers.retire(lambda _: True)
    await some_turns()
    assert not running.done()
    delivering = asyncio.create_task(b.deliveries[0].run())
    await asyncio.wait_for(running, 30)
    b.deliveries[0].buffer.close()
    await delivering
    assert len(b.sinks[0].written) == 40
    assert b.workers._waiting_for_room == {}
    assert b.balanced


async def test_workers_that_retire_do_not_wait_for_room_for_what_is_gone(bench: Any) -> None:
    b = bench(workers=2)
    running = asyncio.create_task(b.workers.run())
    stuck_with(b, 40)
    await some_turns()
    assert b.intake.abandon() > 0
    b.workers.retire(lambda _: True)
    await asyncio.wait_for(running, 30)


async def test_a_worker_that_had_to_wait_for_room_is_not_ended_when_others_retire_from_it(bench: Any) -> None:
    """The step's batch would be lost: it has long had its room."""
    gate = asyncio.Event()

    class Waiting:
        concurrency = 1
        line = Line()
        meter = SharedMeter(0.0)

        by_key = False

        def enter(self) -> None:
            """Batches may overtake each other on the way in."""

        async def process(self, records: list[Any], _: Any, begin: Any, _entry: Any) -> Processed:
            begin()
            await gate.wait()
            return Processed(records)

        async def close(self) -> None: ...

    b = bench(lambda _, records: Processed(records), workers=1)
    b.pipeline.stages[0].offloaded = Waiting()
    gate.set()
    running = asyncio.create_task(b.workers.run())
    stuck_with(b, 40)
    await some_turns()
    gate.clear()
    delivering = asyncio.create_task(b.deliveries[0].run())
    while not b.records.in_flight:
        await asyncio.sleep(0)
    b.workers.retire(lambda _: False)
    await some_turns()
    gate.set()
    await asyncio.wait_for(running, 30)
    b.deliveries[0].buffer.close()
    await delivering
    assert b.records.in_flight == 0
    assert b.records.out == len(b.sinks[0].written) == b.feed.frames.decoded


async def test_workers_that_wait_for_room_end_when_they_are_cancelled(bench: Any) -> None:
    b = bench(workers=2)
    running = asyncio.create_task(b.workers.run())
    stuck_with(b, 40)
    await some_turns()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 30)
    b.intake.buffer.on_ready = None


async def test_the_next_worker_is_woken_where_the_first_one_is_gone(bench: Any) -> None:
    b = bench()
    gone, there = (asyncio.get_running_loop().create_future() for _ in range(2))
    gone.cancel()
    b.workers._idle += [gone, there]
    b.workers._wake()
    assert there.done()


def fair_feeds(b: Any, *names: str) -> tuple[Workers, list[Feed], Counter[str]]:
    """Sources whose turns are looked at, and how many bytes each was served."""
    feeds = []
    for name in names:
        intake = Intake(BufferSettings.model_validate({"max_records": 10**6}), "block", b.books.source(name))
        feeds.append(Feed(intake.buffer, b.feed.codec, intake.book, b.feed.routes))
    workers = Workers(feeds, b.office, b.now, count=1, max_batch=512)
    served: Counter[str] = Counter()

    def process(feed: Feed, frames: Frames, now: Now) -> list[Any]:
        del now
        served[feed.frames.source] += frames.size_bytes
        return []

    workers.process = process  # type: ignore[method-assign]  # only the order is looked at
    return workers, feeds, served


def load(feed: Feed, quanta: int) -> None:
    for _ in range(quanta):
        feed.buffer.put(Frames.of([b"x" * (QUANTUM_BYTES // 4 - 48)] * 4, "127.0.0.1:5", 1.0))


async def test_a_source_that_had_nothing_saves_no_turns_up(bench: Any) -> None:
    workers, feeds, served = fair_feeds(bench(workers=1), "a", "b", "idle")
    running = asyncio.create_task(workers.run())
    load(feeds[0], 100)
    load(feeds[1], 100)
    while served["a"] < 50 * QUANTUM_BYTES:
        await asyncio.sleep(0)
    before = served["a"]
    load(feeds[2], 30)
    while served["idle"] < 20 * QUANTUM_BYTES:
        await asyncio.sleep(0)
    assert served["a"] - before >= 18 * QUANTUM_BYTES
    workers.close()
    await running


async def test_a_source_pays_nothing_for_what_it_was_served_while_nobody_else_waited(bench: Any) -> None:
    workers, feeds, served = fair_feeds(bench(workers=1), "alone", "late")
    running = asyncio.create_task(workers.run())
    load(feeds[0], 200)
    while served["alone"] < 100 * QUANTUM_BYTES:
        await asyncio.sleep(0)
    before = served["alone"]
    load(feeds[1], 60)
    while served["late"] < 40 * QUANTUM_BYTES:
        await asyncio.sleep(0)
    assert served["alone"] - before >= 38 * QUANTUM_BYTES
    workers.close()
    await running


async def test_all_workers_together_take_one_batch_in_a_turn_of_the_loop(bench: Any) -> None:
    b = bench(workers=5)
    b.deliveries[0].buffer.resize(1000, 10**6, "block")
    for n in range(30):
        b.intake.offer(b.frames(*(b"w%d.%d" % (n, k) for k in range(3))))
    turn = 0

    def count_turns() -> None:
        nonlocal turn
        turn += 1
        asyncio.get_running_loop().call_soon(count_turns)

    took: list[int] = []
    take = b.feed.buffer.take

    def noted(most: int) -> Any:
        took.append(turn)
        return take(most)

    b.feed.buffer.take = noted
    count_turns()
    b.workers.close()
    await b.workers.run()
    assert len(took) == 30
    assert len(set(took)) == 30
    assert took[-1] - took[0] <= 2 * 30  # and none is left out
    b.deliveries[0].buffer.close()
    await b.deliveries[0].run()
    assert [r["word"] for r in b.sinks[0].written] == [f"w{n}.{k}" for n in range(30) for k in range(3)]
    assert b.balanced


def test_a_bad_frame_is_told_to_its_own_sender_only(bench: Any) -> None:
    b = bench()
    told: list[list[Status]] = [[], [], []]
    parts = [b.frames(word, ack=Ack(told[n].append)) for n, word in enumerate((b"a", b"BAD", b"c bad"))]
    batch = b.process(Frames.merge([*parts, b.frames(b"d")]))
    assert [(n, ack is None) for n, ack in batch.acks.runs] == [(1, False), (1, False), (1, True)]
    assert told == [[], [Status.REJECTED], []]
    batch.settle(Status.DELIVERED)
    assert told == [[Status.DELIVERED], [Status.REJECTED], [Status.REJECTED]]


def test_rejects_in_any_order_go_each_to_its_own_sender(bench: Any) -> None:
    b = bench()
    decode = b.feed.codec.decode

    def turned_round(frames: Frames, now: Now) -> Decoded:
        done = decode(frames, now)
        done.rejects.reverse()
        return done  # type: ignore[no-any-return]  # a fixture's codec

    b.feed.codec.decode = turned_round
    told: list[list[Status]] = [[], []]
    kept: list[tuple[list[bytes], list[int]]] = []

    def keep(letters: list[Any], acks: Any) -> None:
        kept.append(([letter.payload for letter in letters], [n for n, _ in acks.runs]))
        acks.settle_rows([(Status.DROPPED, [0])], Status.REJECTED)

    b.office.keep = keep
    parts = [b.frames(word, ack=Ack(told[n].append)) for n, word in enumerate((b"BAD", b"bad b bad"))]
    batch = b.process(Frames.merge(parts))
    batch.settle(Status.DELIVERED)
    assert kept == [([b"BAD", b"bad", b"bad"], [1, 2])]
    assert told == [[Status.DROPPED], [Status.REJECTED]]


def test_a_codec_that_raises_rejects_its_frames_unless_it_holds_some(bench: Any) -> None:
    b = bench()
    kept: list[Any] = []
    b.office.keep = lambda letters, _acks: kept.extend(letters)

    def broken(_frames: Frames, _now: Now) -> Decoded:
        raise ZeroDivisionError("by zero")

    b.feed.codec.decode = broken
    b.process(b.frames(b"a", b"b"))
    assert [(letter.payload, letter.reason) for letter in kept] == [(b"a", "exception"), (b"b", "exception")]
    assert kept[0].detail.startswith("ZeroDivisionError: by zero (")
    assert b.feed.frames.rejected == {"exception": 2}
    b.feed.codec.holds = True
    with pytest.raises(ZeroDivisionError):
        b.process(b.frames(b"c"))


def test_a_reject_that_costs_all_that_follows_is_logged(bench: Any) -> None:
    b = bench()
    b.feed.codec.alarming = frozenset({"test:bad"})
    with structlog.testing.capture_logs() as logs:
        b.process(b.frames(b"a", b"BAD", b"bad"))
    assert [(line["event"], line["source"], line["peer"], line["reason"]) for line in logs] == [
        ("frames_unusable", "s", "127.0.0.1:5", "test:bad")
    ]
