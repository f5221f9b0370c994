import asyncio
from collections import Counter
from typing import Any

from streamd.core.ack import Ack, Status
from streamd.core.contracts import BadRecord, Processed
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.settings import BufferSettings
from streamd.runtime.intake import Intake
from streamd.runtime.worker import QUANTUM_BYTES, Feed, Route, Workers


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
    merged = Frames.merge([Frames([b"a b"], "x:1", 1.0), Frames([b"BAD", b"c"], "y:2", 2.0)])
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
    monkeypatch.setattr("streamd.runtime.pipeline.log.error", lambda *_, **fields: logged.append(fields))

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
    assert "KeyError" in logged[0]["traceback"]


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
            feed.buffer.put(Frames([b"x" * size_bytes] * (count // 10), "127.0.0.1:1", 1.0))
    workers = Workers(feeds, b.office, b.now, count=3, max_batch=512)
    served = Counter[int]()
    gaps = []

    def process(feed: Feed, frames: Frames) -> list[Any]:
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
    passage = b.workers.process(b.feed, b.frames(b"a", ack=Ack(told.append)))[0]
    passage.turn._before = type(passage.turn)(None)  # somebody who never leaves
    carrying = asyncio.create_task(
        b.pipeline.carry(passage.batch, passage.route.records, passage.index, passage.turn)
    )
    await asyncio.sleep(0)
    carrying.cancel()
    await asyncio.wait({carrying})
    assert told == [Status.DROPPED]
