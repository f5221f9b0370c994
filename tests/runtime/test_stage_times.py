"""What the parts tell their meters, on a clock that only the tests turn."""

import asyncio
from typing import Any

import pytest

from streamd.core.batch import Batch
from streamd.core.books import FrameBook
from streamd.core.contracts import Processed
from streamd.core.errors import SinkError
from streamd.core.settings import BufferSettings
from streamd.runtime.backoff import Backoff
from streamd.runtime.intake import Intake
from streamd.runtime.meter import Meter, SharedMeter
from streamd.runtime.turn import Line


async def turns() -> None:
    for _ in range(60):
        await asyncio.sleep(0)


def spent(meter: Meter, mono_s: float) -> tuple[float, float, float]:
    """Busy, blocked, idle."""
    return meter.times(mono_s)[1:]


class Slots:
    """A waiting step with so many slots, whose batches come back when a test says so."""

    def __init__(self, slots: int) -> None:
        self.concurrency = slots
        self.line = Line()
        self.meter = SharedMeter(100.0)
        self.gates: dict[str, asyncio.Event] = {}
        self._slots = asyncio.Semaphore(slots)

    by_key = False

    def enter(self) -> None:
        """Batches may overtake each other on the way in."""

    async def process(self, records: list[Any], _: Any, begin: Any, _entry: Any) -> Processed:
        async with self._slots:
            begin()
            await self.gates.setdefault(records[0]["word"], asyncio.Event()).wait()
        return Processed(records)

    async def tick(self, _: Any) -> Processed:
        await asyncio.Event().wait()
        raise AssertionError

    async def close(self) -> None: ...

    def let(self, word: str) -> None:
        self.gates.setdefault(word, asyncio.Event()).set()


def four(word: str) -> Batch:
    return Batch.of([{"word": word}] * 4, "s", "p", "127.0.0.1:5", 1.0, size_bytes=9)


def same(_: Any, records: list[Any]) -> Processed:
    return Processed(records)


def test_an_intake_is_busy_while_frames_wait_and_blocked_while_its_reader_is_stopped(bench: Any) -> None:
    b = bench()
    intake = Intake(BufferSettings.model_validate({"max_records": 4}), "block", FrameBook("s"), b.now)
    b.mono_s = 101.0
    assert intake.offer(b.frames(b"a", b"b"))
    b.mono_s = 103.0
    assert not intake.offer(b.frames(b"c", b"d"))
    b.mono_s = 107.0
    intake.taken(len(intake.buffer.take(1)[0]), 0.0, b.mono_s)  # more than half is left: not yet
    b.mono_s = 108.0
    intake.taken(len(intake.buffer.take(2)[0]), 0.0, b.mono_s)
    b.mono_s = 109.0
    while intake.buffer.records:
        intake.taken(sum(map(len, intake.buffer.take(9))), 0.0, b.mono_s)
    assert spent(intake.meter, 120.0) == (3.0, 5.0, 12.0)
    assert (intake.meter.entered, intake.meter.left) == (4, 4)


def test_an_intake_that_drops_is_never_blocked_and_one_that_took_nothing_stays_idle(bench: Any) -> None:
    b = bench()
    intake = Intake(BufferSettings.model_validate({"max_records": 2}), "drop_newest", FrameBook("s"), b.now)
    intake.offer(b.frames())
    seen = [intake.meter.state]
    for _ in range(3):
        assert intake.offer(b.frames(b"a"))
        seen.append(intake.meter.state)
    intake.abandon()
    assert [*seen, intake.meter.state] == ["idle", "busy", "busy", "busy", "idle"]
    assert intake.meter.entered == 3


async def test_workers_are_busy_while_they_decode_and_blocked_while_frames_wait_for_the_loop(
    bench: Any,
) -> None:
    b = bench(workers=1)
    decode = b.feed.codec.decode

    def slow(*arguments: Any) -> Any:
        b.mono_s += 2.0
        return decode(*arguments)

    b.feed.codec.decode = slow
    running = asyncio.create_task(b.workers.run())
    await turns()
    b.mono_s += 1.0
    b.intake.offer(b.frames(b"a", b"b", b"c", b"d"))  # two batches of two
    while not b.feed.frames.decoded:
        await asyncio.sleep(0)
    assert b.workers.meter.state == "blocked"
    b.mono_s += 5.0
    await turns()
    assert b.workers.meter.state == "idle"
    b.mono_s += 4.0
    assert spent(b.workers.meter, b.mono_s) == (4.0, 5.0, 5.0)
    assert (b.workers.meter.entered, b.workers.meter.left) == (4, 4)
    b.workers.close()
    await running


async def test_workers_are_blocked_while_a_sink_has_no_room(bench: Any) -> None:
    b = bench(workers=2)
    running = asyncio.create_task(b.workers.run())
    for _ in range(4):
        b.intake.offer(b.frames(b"a", b"b", b"c"))
        await turns()
    b.mono_s += 1.0
    b.intake.offer(b.frames(b"d"))
    await turns()
    b.mono_s += 7.0
    assert spent(b.workers.meter, b.mono_s) == (0.0, 7.0, 1.0)
    b.deliveries[0].buffer.take(100)
    await turns()
    assert b.workers.meter.state == "idle"
    b.workers.close()
    await running


async def test_workers_of_two_pipelines_are_idle_again_when_both_are_done(bench: Any) -> None:
    b = bench()
    other = bench()
    other.pipeline.name = "q"
    b.feed.routes.append(other.feed.routes[0])
    b.workers.pipelines.append(other.pipeline)
    other.pipeline.meter = b.workers.meter
    running = asyncio.create_task(b.workers.run())
    b.intake.offer(b.frames(b"a", b"b"))
    await turns()
    meter = b.workers.meter
    assert (meter.state, meter.under_way, meter.entered, meter.left) == ("idle", 0, 2, 4)
    b.workers.close()
    await running


async def test_while_a_step_has_no_slot_it_is_busy_and_the_workers_are_blocked(bench: Any) -> None:
    b = bench(same, workers=4)
    step = b.pipeline.stages[0].offloaded = Slots(1)
    running = asyncio.create_task(b.workers.run())
    b.intake.offer(b.frames(b"a"))
    await turns()
    b.mono_s += 1.0  # one batch in the step, nothing else to do
    assert (step.meter.state, step.meter.under_way, b.workers.meter.state) == ("busy", 1, "idle")
    b.intake.offer(b.frames(b"b"))
    await turns()
    b.mono_s += 2.0  # another one waits for the slot
    assert (step.meter.state, b.workers.meter.state) == ("busy", "blocked")
    step.let("a")
    await turns()
    b.mono_s += 4.0
    assert (step.meter.state, b.workers.meter.state) == ("busy", "idle")
    step.let("b")
    await turns()
    b.mono_s += 8.0
    assert spent(step.meter, b.mono_s) == (7.0, 0.0, 8.0)
    assert spent(b.workers.meter, b.mono_s) == (0.0, 2.0, 13.0)
    assert (step.meter.entered, step.meter.left, step.meter.under_way) == (2, 2, 0)
    b.workers.close()
    await running


async def test_a_step_with_two_batches_is_busy_once_and_while_one_waits_for_the_other(bench: Any) -> None:
    b = bench(same, workers=4)
    step = b.pipeline.stages[0].offloaded = Slots(2)
    running = asyncio.create_task(b.workers.run())
    for word in (b"a", b"b"):
        b.intake.offer(b.frames(word))
        await turns()
    assert step.meter.under_way == 2
    b.mono_s += 1.0
    step.let("b")
    await turns()
    assert (step.meter.under_way, step.meter.state) == (1, "busy")
    b.mono_s += 2.0
    step.let("a")
    await turns()
    assert spent(step.meter, b.mono_s + 1.0) == (3.0, 0.0, 1.0)
    b.workers.close()
    await running


@pytest.mark.parametrize("slots", [1, 3])
async def test_workers_that_are_cancelled_wherever_they_wait_leave_meters_that_go_on(
    bench: Any, slots: int
) -> None:
    b = bench(same, workers=4)
    step = b.pipeline.stages[0].offloaded = Slots(slots)
    running = asyncio.create_task(b.workers.run())
    for word in (b"a", b"b", b"c"):
        b.intake.offer(b.frames(word))
        await turns()
    step.let("c")  # with three slots it waits for its turn
    await turns()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for meter in (step.meter, b.workers.meter):
        assert (meter.state, meter.under_way) == ("idle", 0)
        meter.begin(b.mono_s)
        assert meter.state == "busy"
        meter.end(b.mono_s)
        assert meter.state == "idle"


@pytest.mark.parametrize("waits", [True, False])
async def test_a_tick_that_is_cancelled_where_it_waits_leaves_meters_that_go_on(
    bench: Any, waits: bool
) -> None:
    b = bench(same)
    stage = b.pipeline.stages[0]
    meter = b.pipeline.meter
    if waits:
        stage.offloaded = Slots(1)
        meter = stage.offloaded.meter
    else:
        stage.step.tick = lambda _: Processed([{"word": "late"}])
        b.pipeline.line.join()  # somebody before it who does not go
    ticking = asyncio.create_task(b.pipeline.tick(0))
    await turns()
    assert meter.state == ("busy" if waits else "blocked")
    ticking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ticking
    assert (meter.state, meter.under_way) == ("idle", 0)


async def test_a_sink_is_busy_while_it_writes_and_blocked_from_an_error_to_the_write_that_succeeds(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backoff, "next_s", lambda _: 0.0)
    b = bench()
    delivery, sink = b.deliveries[0], b.sinks[0]
    write = sink.write
    sink.faults = [SinkError("locked", ""), RuntimeError("ours")]

    async def slow(batches: Any) -> Any:
        b.mono_s += 3.0
        return await write(batches)

    sink.write = slow
    running = asyncio.create_task(delivery.run())
    await turns()
    b.mono_s += 1.0
    delivery.buffer.put(four("a"))
    await turns()
    assert sink.calls == 3
    assert spent(delivery.meter, b.mono_s) == (3.0, 6.0, 1.0)
    assert delivery.meter.state == "idle"
    delivery.buffer.put(four("b"))
    await turns()
    assert spent(delivery.meter, b.mono_s) == (6.0, 6.0, 1.0)
    assert (delivery.entered, delivery.meter.left) == (8, 8)
    delivery.buffer.close()
    await running


def test_what_comes_to_a_sink_counts_before_it_is_written_and_when_it_is_dropped(bench: Any) -> None:
    b = bench(when_full="drop_newest")
    delivery = b.deliveries[0]
    for _ in range(4):
        delivery.buffer.put(four("a"))
    assert delivery.buffer.records < 16
    assert (delivery.entered, delivery.meter.left) == (16, 0)
