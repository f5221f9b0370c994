"""What one pipeline hands to its sinks: room at all of them, and a fate for each record of each one."""

import asyncio
from typing import Any

import pytest

from streamd.core.ack import Ack, Status
from streamd.core.acks import Acks
from streamd.core.batch import Batch


def numbered(first: int, count: int) -> Batch:
    return Batch.of([{"n": n} for n in range(first, first + count)], "s", "p", "127.0.0.1:5", 1.0)


@pytest.mark.parametrize("full", [0, 1, 2])
async def test_who_puts_waits_while_any_of_the_sinks_has_no_room(bench: Any, full: int) -> None:
    b = bench(sinks=3)
    buffer = b.deliveries[full].buffer
    buffer.put(numbered(0, 9))
    assert not b.pipeline.fanout.full
    await b.pipeline.fanout.room()
    buffer.put(numbered(9, 1))
    assert b.pipeline.fanout.full
    waiting = asyncio.create_task(b.pipeline.fanout.room())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    buffer.take(4)
    assert not b.pipeline.fanout.full
    await asyncio.wait_for(waiting, 60)


async def test_who_puts_waits_until_all_of_the_sinks_have_room(bench: Any) -> None:
    b = bench(sinks=3)
    for delivery in b.deliveries:
        delivery.buffer.put(numbered(0, 10))
    waiting = asyncio.create_task(b.pipeline.fanout.room())
    for delivery in b.deliveries:
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        assert b.pipeline.fanout.full
        delivery.buffer.take(10)
    await asyncio.wait_for(waiting, 60)
    assert not b.pipeline.fanout.full


async def test_a_full_sink_that_drops_is_not_waited_for(bench: Any) -> None:
    b = bench(sinks=2, when_full="drop_newest")
    b.pipeline.fanout.put(numbered(0, 15), b.records)
    assert not b.pipeline.fanout.full
    await asyncio.wait_for(b.pipeline.fanout.room(), 60)
    for name in ("list0", "list1"):
        book = b.books.delivery("s", "p", name)
        assert (book.offered, book.dropped["buffer_full"], book.pending) == (15, 5, 10)


def test_each_record_that_a_condition_cannot_judge_is_counted_and_kept_with_its_own_sender(
    bench: Any,
) -> None:
    b = bench(sinks=2, where={1: "n > 1"})
    told: list[Status] = []
    values = [5, "five", 0, None, [5], 6]
    peers = [f"10.0.0.{n}:{n}" for n in range(6)]
    times = [float(n) for n in range(6)]
    b.records.taken_in += 6
    batch = Batch.of([{"n": value} for value in values], "s", "p", peers, times, ack=Ack(told.append))
    b.pipeline.fanout.put(batch, b.records)
    book = b.books.delivery("s", "p", "list1")
    assert (book.offered, book.rejected, book.unmatched, book.pending) == (6, 2, 2, 2)
    assert [(x.payload["n"], x.peer, x.received_at, x.sink, x.reason) for x in b.office.letters] == [
        ("five", "10.0.0.1:1", 1.0, "list1", "expr:type"),
        ([5], "10.0.0.4:4", 4.0, "list1", "expr:type"),
    ]
    assert b.books.delivery("s", "p", "list0").pending == 6
    assert b.records.in_flight == 0
    for delivery in b.deliveries:
        for part in delivery.buffer.take(10):
            assert told == []
            part.settle(Status.DELIVERED)
    assert told == [Status.REJECTED]


def test_each_condition_judges_on_its_own(bench: Any) -> None:
    b = bench(sinks=2, where={0: "n < 2", 1: "m < 2"})
    b.records.taken_in += 3
    b.pipeline.fanout.put(
        Batch.of([{"n": 1, "m": "x"}, {"n": "x", "m": 1}, {"n": "x", "m": "x"}], "s", "p", "a:1", 1.0),
        b.records,
    )
    for name in ("list0", "list1"):
        book = b.books.delivery("s", "p", name)
        assert (book.offered, book.rejected, book.unmatched, book.pending) == (3, 2, 0, 1)
    assert [x.sink for x in b.office.letters] == ["list0", "list0", "list1", "list1"]
    assert [list(map(len, d.buffer.take(10))) for d in b.deliveries] == [[1], [1]]
    assert b.records.in_flight == 0


def test_what_a_condition_makes_of_the_records_of_one_sender_is_told_to_no_other(bench: Any) -> None:
    b = bench(sinks=2, where={0: "n > 1", 1: "n > 1"})
    told: list[list[Status]] = [[], [], [], []]
    values = [5, 0, "five", 6, "six", 0, 7, 8]
    batch = Batch.of([{"n": value} for value in values], "s", "p", "127.0.0.1:5", 1.0)
    batch.acks = Acks(
        [(2, Ack(told[0].append)), (2, Ack(told[1].append)), (2, Ack(told[2].append)), (2, None)]
    )
    b.records.taken_in += len(values)
    b.pipeline.fanout.put(batch, b.records)
    assert told == [[], [], [Status.REJECTED], []]
    for delivery in b.deliveries:
        [part] = delivery.buffer.take(10)
        assert [record["n"] for record in part.records] == [5, 6, 7, 8]
        assert [(n, ack is None) for n, ack in part.acks.runs] == [(1, False), (1, False), (2, True)]
        assert told[:2] == [[], []]
        part.settle(Status.DELIVERED)
    assert told == [[Status.DELIVERED], [Status.REJECTED], [Status.REJECTED], []]
    assert [x.payload["n"] for x in b.office.letters] == ["five", "six"] * 2
    for name in ("list0", "list1"):
        book = b.books.delivery("s", "p", name)
        assert (book.offered, book.rejected, book.unmatched, book.pending) == (8, 2, 2, 4)
