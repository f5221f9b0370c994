import asyncio
from typing import Any

from streamd.core.ack import Ack, Status
from streamd.core.contracts import BadRecord, Processed
from streamd.core.frames import FlaggedFrame, Frames


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


async def test_a_blocked_sink_holds_back_at_most_one_batch_a_worker(bench: Any) -> None:
    b = bench(workers=2)
    running = asyncio.create_task(b.workers.run())
    for n in range(40):
        b.intake.offer(b.frames(b"w%d" % n))
    for _ in range(100):
        await asyncio.sleep(0)
    delivery = b.books.delivery("s", "p", "list0")
    assert b.deliveries[0].buffer.records <= 10 + 3
    assert delivery.offered <= 10 + 3 + 2 * 3
    assert b.feed.frames.waiting == b.intake.buffer.records > 20
    assert delivery.pending == b.deliveries[0].buffer.records + 2 * 3
    assert b.records.out == delivery.offered
    delivering = asyncio.create_task(b.deliveries[0].run())
    b.workers.close()
    await running
    b.deliveries[0].buffer.close()
    await delivering
    assert [r["word"] for r in b.sinks[0].written] == [f"w{n}" for n in range(40)]
    assert b.balanced
