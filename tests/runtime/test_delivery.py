import asyncio
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from streamd.core.ack import Ack, Status
from streamd.core.acks import Acks
from streamd.core.batch import Batch
from streamd.core.column import Column
from streamd.core.contracts import Written
from streamd.core.settings import BatchSettings, BufferSettings
from streamd.runtime import delivery as delivery_module
from streamd.runtime.backoff import Backoff
from streamd.runtime.delivery import Delivery


def batch(*words: str, ack: Ack | None = None) -> Batch:
    return Batch.of([{"word": w} for w in words], "s", "p", "127.0.0.1:5", 1.0, ack=ack, size_bytes=100)


def offer(b: Any, item: Batch) -> None:
    b.books.delivery("s", "p", "list0").offered += len(item)
    b.deliveries[0].buffer.put(item)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "next_s", lambda _: 0.0)


@pytest.mark.usefixtures("no_waiting")
async def test_a_fault_that_passes_is_retried_until_everything_is_stored(bench: Any, sink_error: Any) -> None:
    b = bench()
    b.sinks[0].faults = [sink_error("locked"), RuntimeError("a bug"), sink_error("locked")]
    told: list[Status] = []
    offer(b, batch("a", "b", ack=Ack(told.append)))
    b.deliveries[0].buffer.close()
    await b.deliveries[0].run()
    assert [r["word"] for r in b.sinks[0].written] == ["a", "b"]
    assert b.sinks[0].calls == 4
    assert told == [Status.DELIVERED]
    assert b.deliveries[0].trouble is None
    book = b.books.delivery("s", "p", "list0")
    assert (book.stored, book.pending) == (2, 0)


@pytest.mark.parametrize("reason", ["locked", "exception"])
async def test_a_sink_in_trouble_says_since_when_and_why(
    bench: Any, sink_error: Any, until: Any, reason: str
) -> None:
    b = bench()
    b.sinks[0].faults = [sink_error("locked") if reason == "locked" else RuntimeError("a bug")] * 1000
    offer(b, batch("a"))
    running = asyncio.create_task(b.deliveries[0].run())
    await until(lambda: b.deliveries[0].trouble is not None)
    assert b.deliveries[0].trouble == reason
    assert b.deliveries[0].trouble_since_mono_s == 100.0
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert b.books.delivery("s", "p", "list0").pending == 1


@pytest.mark.usefixtures("no_waiting")
async def test_trouble_begins_with_its_first_fault_and_the_next_trouble_with_its_own(
    bench: Any, sink_error: Any
) -> None:
    b = bench()
    delivery = b.deliveries[0]
    write, seen = b.sinks[0].write, []

    async def noted(batches: Any) -> Any:
        seen.append((delivery.trouble, delivery.trouble and delivery.trouble_since_mono_s))
        b.mono_s += 10.0
        return await write(batches)

    b.sinks[0].write = noted
    b.sinks[0].faults = [sink_error("locked"), RuntimeError("a bug"), sink_error("disk_full")]
    offer(b, batch("a", "b", "c", "d"))
    running = asyncio.create_task(delivery.run())
    while delivery.meter.batches < 1:
        await asyncio.sleep(0)
    assert seen == [(None, None), ("locked", 110.0), ("exception", 110.0), ("disk_full", 110.0)]
    assert delivery.trouble is None
    b.sinks[0].faults = [sink_error("locked")]
    offer(b, batch("e", "f", "g", "h"))
    delivery.buffer.close()
    await running
    assert seen[4:] == [(None, None), ("locked", 150.0)]
    assert delivery.trouble is None
    assert b.books.delivery("s", "p", "list0").stored == 8


async def test_a_retry_comes_after_the_wait_and_not_before(
    bench: Any, sink_error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backoff, "next_s", lambda _: 0.05)
    b = bench()
    began_s: list[float] = []
    write = b.sinks[0].write

    async def noted(batches: Any) -> Any:
        began_s.append(asyncio.get_running_loop().time())
        return await write(batches)

    b.sinks[0].write = noted
    b.sinks[0].faults = [sink_error("locked"), RuntimeError("a bug")]
    offer(b, batch("a"))
    b.deliveries[0].buffer.close()
    await b.deliveries[0].run()
    assert len(began_s) == 3
    assert min(later - before for before, later in pairwise(began_s)) > 0.04
    assert b.books.delivery("s", "p", "list0").stored == 1


async def test_what_the_sink_rejects_is_counted_and_settled_as_rejected(bench: Any) -> None:
    b = bench()
    b.sinks[0].poison = {"bad"}
    told: list[Status] = []
    offer(b, batch("a", "bad", "c", ack=Ack(told.append)))
    b.deliveries[0].buffer.close()
    await b.deliveries[0].run()
    book = b.books.delivery("s", "p", "list0")
    assert (book.offered, book.stored, book.rejected, book.pending) == (3, 2, 1, 0)
    assert told == [Status.REJECTED]


async def test_each_record_of_a_commit_has_its_fate_in_the_book_the_ack_and_the_latency(bench: Any) -> None:
    b = bench()
    now = b.now()
    told: list[Status] = []
    fates = {"stored": (0, 2, 0), "rejected": (1, 0, 0), "dropped": (0, 1, 2), "both": (1, 0, 1)}

    async def mixed(batches: Any) -> Written:
        columns = zip(*(fates[each.records[0]["word"]] for each in batches), strict=True)
        rejected, replaced, dropped = map(list, columns)
        gone = [dict.fromkeys(range(n, n + m), "closed") for n, m in zip(rejected, dropped, strict=True)]
        return Written(list(map(range, rejected)), replaced, gone)

    b.sinks[0].write = mixed
    for word in fates:
        item = batch(word, "-", ack=Ack(told.append))
        item.received_at = Column(now.wall_s - 0.02)
        offer(b, item)
    assert b.deliveries[0].last_commit_mono_s is None
    b.mono_s += 0.01
    b.deliveries[0].buffer.close()
    await b.deliveries[0].run()
    book = b.books.delivery("s", "p", "list0")
    assert (book.offered, book.stored, book.replaced, book.rejected, book.pending) == (8, 3, 3, 2, 0)
    assert book.dropped == {"closed": 3}
    assert told == [Status.DELIVERED, Status.REJECTED, Status.DROPPED, Status.DROPPED]
    assert [n for _, n in b.deliveries[0].latency_s.buckets()][4:6] == [0, 3], "0.03 s each"
    assert b.deliveries[0].latency_s.count == 3
    assert b.deliveries[0].last_commit_mono_s == b.mono_s == 100.01


async def test_a_sink_gives_up_single_records_with_reasons_of_its_own(bench: Any) -> None:
    b = bench()
    told: list[tuple[str, Status]] = []
    words = ["stored", "rejected", "long", "old"]

    async def some(batches: Any) -> Written:
        del batches
        return Written([[1]], [0], [{2: "too_long", 3: "too_old"}])

    b.sinks[0].write = some
    item = batch(*words)
    item.acks = Acks([(1, Ack(partial(_note, told, word))) for word in words])
    offer(b, item)
    b.deliveries[0].buffer.close()
    await b.deliveries[0].run()
    book = b.books.delivery("s", "p", "list0")
    assert (book.offered, book.stored, book.rejected, book.pending) == (4, 1, 1, 0)
    assert book.dropped == {"too_long": 1, "too_old": 1}
    assert dict(told) == {
        "stored": Status.DELIVERED,
        "rejected": Status.REJECTED,
        "long": Status.DROPPED,
        "old": Status.DROPPED,
    }


async def test_what_a_sink_leaves_out_as_stored_counts_as_such_and_is_delivered(
    bench: Any,
) -> None:
    b = bench()
    told: list[Status] = []

    async def rest(batches: Any) -> Written:
        del batches
        return Written([[]], [0], left_out=[{0: "already_stored", 1: "already_stored"}])

    b.sinks[0].write = rest
    offer(b, batch("a", "b", "c", ack=Ack(told.append)))
    b.deliveries[0].buffer.close()
    await b.deliveries[0].run()
    book = b.books.delivery("s", "p", "list0")
    assert (book.offered, book.stored, book.pending) == (3, 1, 0)
    assert book.left_out == {"already_stored": 2}
    assert told == [Status.DELIVERED]


def _note(told: list[tuple[str, Status]], word: str, status: Status) -> None:
    told.append((word, status))


async def test_only_a_commit_sets_the_time_of_the_last_one(bench: Any, sink_error: Any, until: Any) -> None:
    b = bench()
    running = asyncio.create_task(b.deliveries[0].run())
    offer(b, batch("a"))
    await until(lambda: b.deliveries[0].meter.batches == 1)
    b.mono_s += 60.0
    b.sinks[0].faults = [sink_error("locked")] * 1000
    offer(b, batch("b"))
    await until(lambda: b.deliveries[0].trouble is not None)
    assert b.deliveries[0].last_commit_mono_s == 100.0
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert b.books.delivery("s", "p", "list0").stored == b.books.delivery("s", "p", "list0").pending == 1


async def test_a_commit_under_way_when_time_is_over_still_counts(bench: Any, until: Any) -> None:
    b = bench()
    gate = asyncio.Event()
    write = b.sinks[0].write

    async def slow(batches: Any) -> Any:
        await gate.wait()
        return await write(batches)

    b.sinks[0].write = slow
    offer(b, batch("a"))
    running = asyncio.create_task(b.deliveries[0].run())
    await until(lambda: b.deliveries[0].writing is not None)
    running.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert b.books.delivery("s", "p", "list0").stored == 1


async def test_a_commit_that_never_ends_is_named_as_unknown(bench: Any, monkeypatch: Any, until: Any) -> None:
    monkeypatch.setattr(delivery_module, "LAST_COMMIT_WAIT_S", 0.01)
    logged: list[str] = []
    monkeypatch.setattr(delivery_module.log, "error", lambda event, **_: logged.append(event))
    b = bench()
    never = asyncio.Event()

    async def hang(_: Any) -> Any:
        await never.wait()

    b.sinks[0].write = hang
    offer(b, batch("a"))
    running = asyncio.create_task(b.deliveries[0].run())
    await until(lambda: b.deliveries[0].writing is not None)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert logged == ["commit_outcome_unknown"]
    assert b.books.delivery("s", "p", "list0").pending == 1
    b.deliveries[0].writing.cancel()


async def test_a_drop_policy_counts_what_it_drops_and_never_waits(bench: Any) -> None:
    b = bench(when_full="drop_oldest")
    told: list[Status] = []
    for n in range(5):
        item = batch(*(f"{n}.{k}" for k in range(5)), ack=Ack(told.append))
        b.books.delivery("s", "p", "list0").offered += 5
        b.deliveries[0].buffer.put(item)
    assert told == [Status.DROPPED] * 3
    b.deliveries[0].buffer.close()
    await b.deliveries[0].run()
    book = b.books.delivery("s", "p", "list0")
    assert (book.offered, book.stored, book.dropped["buffer_full"], book.pending) == (25, 10, 15, 0)
    assert told == [Status.DROPPED] * 3 + [Status.DELIVERED] * 2


async def test_a_hung_sink_with_a_drop_policy_does_not_stop_its_neighbour(bench: Any) -> None:
    b = bench(sinks=2, when_full="drop_oldest")
    workers = asyncio.create_task(b.workers.run())
    neighbour = asyncio.create_task(b.deliveries[1].run())
    for n in range(100):
        b.intake.offer(b.frames(b"w%d" % n))
        await asyncio.sleep(0)
    b.workers.close()
    await workers
    b.deliveries[1].buffer.close()
    await neighbour
    stuck, fine = (b.books.delivery("s", "p", f"list{n}") for n in (0, 1))
    assert fine.stored + fine.dropped["buffer_full"] == 100
    assert stuck.dropped["buffer_full"] + stuck.pending == 100
    assert stuck.pending == b.deliveries[0].buffer.records


async def test_after_a_success_the_first_retry_comes_soon_again(
    bench: Any, sink_error: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits_s: list[float] = []
    real = Backoff.next_s

    def next_s(backoff: Backoff) -> float:
        waits_s.append(real(backoff))
        return 0.0

    monkeypatch.setattr(Backoff, "next_s", next_s)
    b = bench()
    running = asyncio.create_task(b.deliveries[0].run())
    for faults, word in ((5, "a"), (1, "b")):
        b.sinks[0].faults = [sink_error("locked")] * faults
        offer(b, batch(word))
        await until(lambda word=word: {"word": word} in b.sinks[0].written)
    b.deliveries[0].buffer.close()
    await running
    assert waits_s[4] > 8 * waits_s[0]
    assert waits_s[5] < 2 * waits_s[0]


async def test_after_progress_within_a_write_the_next_retry_comes_soon_again(
    bench: Any, sink_error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full stream takes a part of a write each time that a worker has made room."""
    waits_s: list[float] = []
    real = Backoff.next_s

    def next_s(backoff: Backoff) -> float:
        waits_s.append(real(backoff))
        return 0.0

    monkeypatch.setattr(Backoff, "next_s", next_s)
    b = bench()
    steps = iter([0, 0, 0, 0, 1, 1, 2])
    written = b.sinks[0].write

    class Sink:
        progress = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(b.sinks[0], name)

        async def write(self, batches: Any) -> Any:
            Sink.progress = next(steps)
            return await written(batches)

    b.deliveries[0].sink = Sink()
    b.sinks[0].faults = [sink_error("stream_full")] * 6
    offer(b, batch("a"))
    await b.deliveries[0].flush()
    assert waits_s[3] > 4 * waits_s[0]
    assert waits_s[4] < 2 * waits_s[0], "it has taken something"
    assert waits_s[5] > 1.5 * waits_s[4], "it has not"


async def test_what_a_commit_takes_is_taken_off_the_wait_for_the_next(bench: Any) -> None:
    b = bench()
    write = b.sinks[0].write

    async def slow(batches: Any) -> Any:
        b.mono_s += 0.0004
        return await write(batches)

    b.sinks[0].write = slow
    offer(b, batch("a"))
    b.deliveries[0].buffer.close()
    await b.deliveries[0].run()
    assert b.deliveries[0]._batcher.wait_s(1, b.mono_s) == pytest.approx(0.001 - 2 * 0.0004)


async def test_a_buffer_of_one_record_is_delivered_record_by_record(bench: Any) -> None:
    """A sink that takes none of it would go round for ever."""
    b = bench()
    settings = BufferSettings.model_validate({"max_records": 1})
    batches = BatchSettings.model_validate({"max_records": 4, "max_wait": "1ms"})
    delivery = Delivery("list0", b.sinks[0], batches, settings, b.books, b.now)
    running = asyncio.create_task(delivery.run())
    async with asyncio.timeout(60):
        for n in range(3):
            item = batch(f"{n}.0", f"{n}.1")
            b.books.delivery("s", "p", "list0").offered += len(item)
            delivery.buffer.put(item)
            await delivery.buffer.room()
        delivery.buffer.close()
        await running
    assert [r["word"] for r in b.sinks[0].written] == ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"]
    assert b.books.delivery("s", "p", "list0").pending == 0
    assert delivery.meter.batches == 6


async def test_under_load_a_commit_takes_more_than_is_enough_for_one(bench: Any) -> None:
    b = bench()
    sizes: list[int] = []
    write = b.sinks[0].write

    async def noted(batches: Any) -> Any:
        sizes.append(sum(map(len, batches)))
        return await write(batches)

    b.sinks[0].write = noted
    for n in range(10):
        offer(b, batch(f"w{n}"))
    b.deliveries[0].buffer.close()
    await b.deliveries[0].run()
    assert sizes == [5, 5]  # four are enough, and half of the buffer is the most
    assert [r["word"] for r in b.sinks[0].written] == [f"w{n}" for n in range(10)]
    assert b.books.delivery("s", "p", "list0").stored == 10


async def test_a_commit_begins_before_those_who_wait_for_room_go_on(bench: Any) -> None:
    b = bench()
    delivery = b.deliveries[0]
    happened: list[str] = []
    write = b.sinks[0].write

    async def noted(batches: Any) -> Any:
        happened.append("commit")
        return await write(batches)

    async def writer() -> None:
        await delivery.buffer.room()
        happened.append("writer")

    b.sinks[0].write = noted
    for n in range(10):
        offer(b, batch(f"w{n}"))
    waiting = asyncio.create_task(writer())
    await asyncio.sleep(0)
    assert happened == []
    running = asyncio.create_task(delivery.run())
    await waiting
    assert happened[:2] == ["commit", "writer"]
    delivery.buffer.close()
    await running
    assert b.books.delivery("s", "p", "list0").stored == 10


@pytest.mark.parametrize(
    ("age_s", "latency_s"), [(0.25, 0.25), (30.0, 30.0), (-5.0, 0.0)], ids=["short", "long", "clock set back"]
)
async def test_the_latency_of_a_stored_record_is_counted_from_its_receipt_on_the_wall_clock(
    bench: Any, age_s: float, latency_s: float
) -> None:
    b = bench()
    b.sinks[0].poison = {"bad"}
    records = [{"word": word} for word in ("a", "bad", "c")]
    offer(b, Batch.of(records, "s", "p", "127.0.0.1:5", b.now().wall_s - age_s, size_bytes=100))
    b.deliveries[0].buffer.close()
    await b.deliveries[0].run()
    histogram = b.deliveries[0].latency_s
    assert histogram.count == b.books.delivery("s", "p", "list0").stored == 2
    assert histogram.sum == pytest.approx(2 * latency_s, abs=1e-5)


def patient(b: Any) -> tuple[Delivery, list[int]]:
    """A delivery that may wait an hour for company, and the sizes of its commits."""
    sizes: list[int] = []
    write = b.sinks[0].write

    async def noted(batches: Any) -> Any:
        sizes.append(sum(map(len, batches)))
        return await write(batches)

    b.sinks[0].write = noted
    batches = BatchSettings.model_validate({"max_records": 4, "max_wait": "1h"})
    settings = BufferSettings.model_validate({"max_records": 10})
    b.deliveries[0] = Delivery("list0", b.sinks[0], batches, settings, b.books, b.now)
    return b.deliveries[0], sizes


async def test_the_first_record_is_committed_at_once_and_the_next_ones_in_company(
    bench: Any, until: Any
) -> None:
    b = bench()
    delivery, sizes = patient(b)
    running = asyncio.create_task(delivery.run())
    offer(b, batch("a"))
    await until(lambda: sizes == [1])
    for word in "bcd":
        offer(b, batch(word))
        for _ in range(20):
            await asyncio.sleep(0)
        assert sizes == [1]
    offer(b, batch("e"))
    await until(lambda: sizes == [1, 4])
    delivery.buffer.close()
    await running
    assert b.books.delivery("s", "p", "list0").stored == 5


async def test_nobody_waits_for_company_that_cannot_come_any_more(bench: Any, until: Any) -> None:
    b = bench()
    delivery, sizes = patient(b)
    running = asyncio.create_task(delivery.run())
    offer(b, batch("a"))
    await until(lambda: sizes == [1])
    offer(b, batch("b"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert sizes == [1]
    delivery.buffer.close()
    await asyncio.wait_for(running, 60)
    assert sizes == [1, 1]
    assert b.books.delivery("s", "p", "list0").pending == 0


async def test_who_waits_for_company_has_enough_when_max_wait_is_over(bench: Any, until: Any) -> None:
    b = bench()
    delivery, sizes = patient(b)
    running = asyncio.create_task(delivery.run())
    offer(b, batch("a"))
    await until(lambda: sizes == [1])
    b.mono_s += 3599.99
    offer(b, batch("b"))
    await until(lambda: sizes == [1, 1])
    delivery.buffer.close()
    await running
    assert b.books.delivery("s", "p", "list0").stored == 2


async def test_a_record_that_a_sink_rejects_is_told_to_its_own_sender_only(bench: Any) -> None:
    b = bench()
    b.sinks[0].poison = {"x"}
    told: list[list[Status]] = [[], [], []]
    item = batch("a", "b", "c", "x", "d")
    item.acks = Acks([(2, Ack(told[0].append)), (2, Ack(told[1].append)), (1, Ack(told[2].append))])
    offer(b, item)
    b.deliveries[0].buffer.close()
    await b.deliveries[0].run()
    assert told == [[Status.DELIVERED], [Status.REJECTED], [Status.DELIVERED]]
    book = b.books.delivery("s", "p", "list0")
    assert (book.stored, book.rejected, book.pending) == (4, 1, 0)
