import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import structlog

from streamd.core.ack import Ack, Status
from streamd.core.batch import Batch, Record
from streamd.core.books import TICK
from streamd.core.contracts import Offload, Processed, Step
from streamd.core.hold import Hold
from streamd.core.now import Now
from streamd.runtime.ticker import IDLE_S

START_S = 100.0


class Sums(Step[Any]):
    """Keeps the words of a second, and hands on how many there were."""

    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(config, context)
        self.words: list[str] = []
        self.holds: list[Hold] = []
        self.due: float | None = None
        self.asked = 0
        self.ticked: list[float] = []

    def process(self, records: list[Record], now: Now) -> Processed:
        self.words += [record["word"] for record in records]
        if (hold := self.context.hold()) is not None:
            self.holds.append(hold)
        self.due = self.due or now.mono_s + 1
        if "fail" in self.words:
            raise ValueError("as the test wants")
        return Processed([], absorbed=len(records))

    def next_deadline(self) -> float | None:
        self.asked += 1
        return self.due

    def tick(self, now: Now) -> Processed:
        self.ticked.append(now.mono_s)
        words, self.words, self.due = self.words, [], None
        holds, self.holds = self.holds, []
        return Processed([{"word": "+".join(words), "n": len(words)}] if words else [], holds=holds)


class Waiting(Step[Any]):
    """Holds each record up for as long as it says, and hands it on."""

    offload = Offload("loop", 4, 30.0)

    async def process_async(self, records: list[Record], now: Now, is_cancelled: Any) -> Processed:
        await asyncio.sleep(0.5 if any("slow" in record["word"] for record in records) else 0)
        return Processed(records)

    def process_one(self, record: Record, now: Now) -> Record:
        raise AssertionError


def run(loop: Any, b: Any, play: Callable[[], Awaitable[None]]) -> None:
    """Run the workers and the deliveries while `play` goes on, then stop as a daemon does."""

    async def whole() -> None:
        working = asyncio.create_task(b.workers.run())
        delivering = [asyncio.create_task(delivery.run()) for delivery in b.deliveries]
        for _ in range(5):
            await asyncio.sleep(0)
        await play()
        b.workers.close()
        await working
        for delivery in b.deliveries:
            delivery.buffer.close()
        await asyncio.gather(*delivering)

    loop.run_until_complete(whole())
    assert b.balanced


def virtual(b: Any, loop: Any) -> Any:
    b.__class__ = type("Timed", (type(b),), {"now": lambda _: Now(loop.now_s + 1e9, loop.now_s)})
    for part in (b.workers, b.pipeline, *b.deliveries):
        part._clock = b.now
    return b


def written(b: Any) -> list[str]:
    return [record["word"] for record in b.sinks[0].written]


def test_a_step_is_ticked_at_its_deadline_and_not_looked_at_before(bench: Any, virtual_loop: Any) -> None:
    b = virtual(bench(Sums), virtual_loop)
    step = b.pipeline.stages[0].step

    async def play() -> None:
        await asyncio.sleep(5)
        b.intake.offer(b.frames(b"a", b"b"))
        await asyncio.sleep(0.25)
        b.intake.offer(b.frames(b"c"))
        asked, turns = step.asked, virtual_loop.turns
        await asyncio.sleep(0.5)
        assert (step.asked - asked, virtual_loop.turns - turns) <= (2, 12)
        assert step.ticked == []
        await asyncio.sleep(9)

    run(virtual_loop, b, play)
    assert step.ticked == pytest.approx([START_S + 6, virtual_loop.now_s])
    assert written(b) == ["a+b+c"]
    ticked = b.books.pipeline(TICK, "p")
    assert (ticked.taken_in, ticked.emitted, ticked.out) == (0, 1, 1)
    assert (b.records.taken_in, b.records.absorbed, b.records.out) == (3, 3, 0)
    [record] = b.sinks[0].written
    assert (record["@source"], record["@peer"]) == (TICK, None)
    assert record["@received_at"].startswith("2001-09-09T01:48:26")


def test_what_a_step_keeps_is_settled_by_the_commit_of_what_became_of_it(
    bench: Any, virtual_loop: Any
) -> None:
    b = virtual(bench(Sums), virtual_loop)
    told: list[tuple[float, Status]] = []

    async def play() -> None:
        b.intake.offer(b.frames(b"a", b"b", ack=Ack(lambda fate: told.append((virtual_loop.now_s, fate)))))
        await asyncio.sleep(0.9)
        assert told == []
        b.sinks[0].faults.append(ValueError("not yet"))
        await asyncio.sleep(0.15)
        assert told == []
        await asyncio.sleep(5)

    run(virtual_loop, b, play)
    [(at_s, fate)] = told
    assert at_s > START_S + 1
    assert fate == Status.DELIVERED


def test_what_a_step_keeps_of_several_reads_settles_each_of_them(bench: Any, virtual_loop: Any) -> None:
    b = virtual(bench(Sums), virtual_loop)
    told: list[str] = []

    def tell(word: str, _: Status) -> None:
        told.append(word)

    async def play() -> None:
        for word in "abc":
            b.intake.offer(b.frames(word.encode(), ack=Ack(partial(tell, word))))
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)

    run(virtual_loop, b, play)
    assert told == ["a", "b", "c"]
    assert written(b) == ["a+b+c"]


def test_the_last_tick_hands_on_what_is_kept(bench: Any, virtual_loop: Any) -> None:
    b = virtual(bench(Sums), virtual_loop)
    told: list[Status] = []

    async def play() -> None:
        b.intake.offer(b.frames(b"a", ack=Ack(told.append)))
        await asyncio.sleep(0.01)

    run(virtual_loop, b, play)
    assert written(b) == ["a"]
    assert told == [Status.DELIVERED]
    assert virtual_loop.now_s < START_S + 1


def test_what_is_kept_and_never_handed_on_counts_as_dropped(bench: Any, virtual_loop: Any) -> None:
    class Grave(Sums):
        def tick(self, now: Now) -> Processed:
            return Processed([])

    b = virtual(bench(Grave), virtual_loop)
    told: list[Status] = []

    async def play() -> None:
        b.intake.offer(b.frames(b"a", ack=Ack(told.append)))
        await asyncio.sleep(3)

    run(virtual_loop, b, play)
    assert told == [Status.DROPPED]


def test_what_a_step_gives_up_without_a_result_is_settled_as_filtered(bench: Any, virtual_loop: Any) -> None:
    class Nothing(Sums):
        def tick(self, now: Now) -> Processed:
            return Processed([], holds=super().tick(now).holds)

    b = virtual(bench(Nothing), virtual_loop)
    told: list[Status] = []

    async def play() -> None:
        b.intake.offer(b.frames(b"a", ack=Ack(told.append)))
        await asyncio.sleep(1.5)
        assert told == [Status.FILTERED]

    run(virtual_loop, b, play)


def test_the_holds_of_a_call_that_fails_settle_with_its_dead_letters(bench: Any, virtual_loop: Any) -> None:
    b = virtual(bench(Sums), virtual_loop)
    told: list[Status] = []

    async def play() -> None:
        b.intake.offer(b.frames(b"fail", ack=Ack(told.append)))
        await asyncio.sleep(0.01)
        assert told == [Status.REJECTED]

    run(virtual_loop, b, play)


@pytest.mark.parametrize("steps", [(Waiting, Sums), (Sums, Waiting), (Waiting, Sums, Waiting)])
def test_ticks_go_on_in_order_with_batches_through_steps_that_wait(
    bench: Any, virtual_loop: Any, steps: tuple[type, ...]
) -> None:
    class Through(Sums):
        def process(self, records: list[Record], now: Now) -> Processed:
            super().process(records, now)
            return Processed(records)

    b = virtual(bench(*(Through if step is Sums else step for step in steps)), virtual_loop)

    async def play() -> None:
        for word in (b"slow1", b"a"):
            b.intake.offer(b.frames(word))
            await asyncio.sleep(0.01)
        await asyncio.sleep(2)
        for word in (b"slow2", b"b", b"c"):
            b.intake.offer(b.frames(word))
            await asyncio.sleep(0.6)
        await asyncio.sleep(2)

    run(virtual_loop, b, play)
    words = written(b)
    assert [word for word in words if "slow" in word and "+" not in word] == ["slow1", "slow2"]
    assert "slow1+a" in words
    for place, word in enumerate(words):
        for part in word.split("+") if place and ("+" in word or words[:place].count(word)) else ():
            assert part in words[:place], f"{word} overtook {part}"


def test_no_tick_begins_while_a_sink_has_no_room(bench: Any, virtual_loop: Any) -> None:
    b = virtual(bench(Sums), virtual_loop)
    step = b.pipeline.stages[0].step

    gate = asyncio.Event()
    write = b.sinks[0].write

    async def slow(batches: Any) -> Any:
        await gate.wait()
        return await write(batches)

    async def play() -> None:
        b.sinks[0].write = slow
        b.records.taken_in += 30
        b.pipeline.fanout.put(Batch.of([{"word": "x"}] * 30, "s", "p", "", 1.0), b.records)
        step.due = virtual_loop.time() + 0.5
        b.pipeline.on_ran()
        await asyncio.sleep(3)
        assert step.ticked == []
        gate.set()
        await asyncio.sleep(0.1)
        assert len(step.ticked) == 1

    run(virtual_loop, b, play)


def test_a_step_whose_clock_fails_is_logged_once_and_stops_nothing(bench: Any, virtual_loop: Any) -> None:
    class Broken(Sums):
        def tick(self, now: Now) -> Processed:
            super().tick(now)
            self.due = now.mono_s - 5
            raise ValueError("broken")

        def next_deadline(self) -> float | None:
            return super().next_deadline() if len(self.ticked) < 20 else float("nan")

    b = virtual(bench(Broken), virtual_loop)
    step = b.pipeline.stages[0].step

    async def play() -> None:
        b.intake.offer(b.frames(b"a"))
        await asyncio.sleep(1 + 5 * IDLE_S)
        assert 3 <= len(step.ticked) <= 7
        await asyncio.sleep(1)
        b.intake.offer(b.frames(b"b"))
        await asyncio.sleep(1)

    with structlog.testing.capture_logs() as logs:
        run(virtual_loop, b, play)
    assert [line["error"].split(" (")[0] for line in logs] == [
        "ValueError: broken",
        "ValueError: next_deadline is not a number",
    ]
    assert b.records.absorbed == 2


def test_a_tick_that_makes_no_record_is_logged_and_gives_nothing(bench: Any, virtual_loop: Any) -> None:
    class Odd(Sums):
        def tick(self, now: Now) -> Processed:
            return Processed([*super().tick(now).records, "no record"])  # type: ignore[list-item]  # a user's own code

    b = virtual(bench(Odd), virtual_loop)

    async def play() -> None:
        b.intake.offer(b.frames(b"a"))
        await asyncio.sleep(1.5)

    with structlog.testing.capture_logs() as logs:
        run(virtual_loop, b, play)
    assert [line["error"].partition(" (")[0] for line in logs] == [
        "TypeError: tick returned a record that is not a dict"
    ]
    assert written(b) == []


def test_what_a_waiting_step_keeps_waits_for_its_tick(bench: Any, virtual_loop: Any) -> None:
    class WaitingSums(Sums):
        offload = Offload("loop", 4, 30.0)

    b = virtual(bench(WaitingSums), virtual_loop)
    told: list[Status] = []

    async def play() -> None:
        b.intake.offer(b.frames(b"a", ack=Ack(told.append)))
        await asyncio.sleep(0.9)
        assert told == []
        await asyncio.sleep(1)
        assert told == [Status.DELIVERED]

    run(virtual_loop, b, play)
    assert written(b) == ["a"]


def test_a_step_hands_on_piece_by_piece_without_a_pause(bench: Any, virtual_loop: Any) -> None:
    class Pieces(Sums):
        left = 50

        def tick(self, now: Now) -> Processed:
            if not self.left:
                return Processed([])
            self.left -= 1
            self.ticked.append(now.mono_s)
            self.due = now.mono_s if self.left else None
            return Processed([{"word": f"{self.left}"}])

    b = virtual(bench(Pieces), virtual_loop)

    async def play() -> None:
        b.intake.offer(b.frames(b"a"))
        await asyncio.sleep(1.5)

    run(virtual_loop, b, play)
    assert written(b) == [f"{n}" for n in range(49, -1, -1)]
    ticked = b.pipeline.stages[0].step.ticked
    assert ticked[-1] - ticked[0] < IDLE_S


def test_of_two_steps_each_is_ticked_at_its_own_deadline(bench: Any, virtual_loop: Any) -> None:
    class Late(Sums):
        def process(self, records: list[Record], now: Now) -> Processed:
            super().process(records, now)
            self.due = now.mono_s + 3
            return Processed(records)

    b = virtual(bench(Late, Sums), virtual_loop)

    async def play() -> None:
        b.intake.offer(b.frames(b"a"))
        await asyncio.sleep(2)
        assert written(b) == ["a"]
        await asyncio.sleep(3)

    run(virtual_loop, b, play)
    late, sums = (stage.step for stage in b.pipeline.stages)
    assert late.ticked[0] == pytest.approx(START_S + 3)
    assert sums.ticked[0] == pytest.approx(START_S + 1)


def test_batches_that_bring_no_earlier_deadline_wake_nobody(bench: Any, virtual_loop: Any) -> None:
    class Fixed(Sums):
        def next_deadline(self) -> float | None:
            super().next_deadline()
            return START_S + 50

    b = virtual(bench(Fixed), virtual_loop)
    step = b.pipeline.stages[0].step

    async def play() -> None:
        await asyncio.sleep(1)
        asked = step.asked
        for _ in range(10):
            b.intake.offer(b.frames(b"a"))
            await asyncio.sleep(0.1)
        assert step.asked - asked == 10, "once for each batch"

    run(virtual_loop, b, play)


def test_while_the_gate_is_shut_no_tick_begins_and_none_is_under_way(bench: Any, virtual_loop: Any) -> None:
    b = virtual(bench(Sums, Waiting), virtual_loop)
    step = b.pipeline.stages[0].step

    async def play() -> None:
        b.intake.offer(b.frames(b"slow"))
        await asyncio.sleep(1.1)
        assert b.books.pipeline(TICK, "p").out == 0
        async with b.workers.gate.shut():
            assert b.books.pipeline(TICK, "p").out == 1
            step.words, step.due = ["b"], virtual_loop.time() + 0.5
            b.pipeline.on_ran()
            await asyncio.sleep(1)
            assert len(step.ticked) == 1
        await asyncio.sleep(0.1)
        assert len(step.ticked) == 2

    run(virtual_loop, b, play)
    assert written(b) == ["slow", "b"]


def test_the_end_waits_for_a_tick_that_is_under_way(bench: Any, virtual_loop: Any) -> None:
    b = virtual(bench(Sums, Waiting), virtual_loop)
    out: list[int] = []

    async def note() -> None:
        out.append(b.books.pipeline(TICK, "p").out)

    async def play() -> None:
        b.workers.on_end = note
        b.intake.offer(b.frames(b"slow"))
        await asyncio.sleep(1.1)

    run(virtual_loop, b, play)
    assert out == [1]
    assert written(b) == ["slow"]


def test_at_the_end_a_step_is_ticked_until_nothing_more_is_due_at_once(bench: Any, virtual_loop: Any) -> None:
    class Pieces(Sums):
        left = 5

        def tick(self, now: Now) -> Processed:
            self.left -= 1
            self.due = now.mono_s + (0 if self.left > 0 else 10)
            return Processed([{"word": f"{self.left}"}])

    b = virtual(bench(Pieces), virtual_loop)

    async def play() -> None:
        b.intake.offer(b.frames(b"a"))
        await asyncio.sleep(0.1)

    run(virtual_loop, b, play)
    assert written(b) == ["4", "3", "2", "1", "0"], "what is due later is not handed on again and again"


async def test_a_step_that_is_always_due_leaves_the_event_loop_to_others(bench: Any) -> None:
    class Always(Sums):
        made = 0

        def next_deadline(self) -> float | None:
            return 0.0 if self.made < 1000 else None

        def tick(self, now: Now) -> Processed:
            self.made += 1
            return Processed([{"word": "w"}])

    b = bench(Always, when_full="drop_newest")
    step = b.pipeline.stages[0].step
    working = asyncio.create_task(b.workers.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert 2 < step.made < 40
    b.workers.close()
    step.made = 0
    for _ in range(20):
        await asyncio.sleep(0)
    assert 2 < step.made < 40, "the last ticks of a stop"
    step.made = 1000
    await working
    delivering = asyncio.create_task(b.deliveries[0].run())
    b.deliveries[0].buffer.close()
    await delivering
    assert b.balanced


@pytest.mark.parametrize("why", ["it has a snapshot", "another pipeline goes on with it"])
def test_a_step_that_keeps_its_records_beyond_the_end_has_no_last_tick(
    bench: Any, virtual_loop: Any, why: str
) -> None:
    class Stateful(Sums):
        def snapshot(self) -> bytes | None:
            return b"words"

    b = virtual(bench(Stateful if why == "it has a snapshot" else Sums), virtual_loop)
    if why != "it has a snapshot":
        b.pipeline.handed_on = list(b.pipeline.stages)

    async def play() -> None:
        b.intake.offer(b.frames(b"a"))
        await asyncio.sleep(0.1)

    run(virtual_loop, b, play)
    assert b.pipeline.stages[0].step.words == ["a"]
    assert written(b) == b.pipeline.stages[0].step.ticked == []


async def test_a_step_in_threads_is_ticked_in_its_thread_while_no_batch_is_under_way(bench: Any) -> None:
    busy = threading.Lock()

    class Threaded(Sums):
        offload = Offload("thread", 3, 10.0)
        thread = ""

        def process(self, records: list[Record], now: Now) -> Processed:
            with busy:
                done = super().process(records, now)
            self.due = now.mono_s
            return done

        def tick(self, now: Now) -> Processed:
            assert busy.acquire(blocking=False)
            self.thread = threading.current_thread().name
            done = super().tick(now)
            busy.release()
            return done

    told: list[Status] = []
    b = bench(Threaded)
    working = asyncio.create_task(b.workers.run())
    delivering = asyncio.create_task(b.deliveries[0].run())
    for n in range(40):
        b.intake.offer(b.frames(b"w%d" % n, ack=Ack(told.append)))
        await asyncio.sleep(0)
    b.workers.close()
    await working
    b.deliveries[0].buffer.close()
    await delivering
    words = [part for word in written(b) for part in word.split("+")]
    assert sorted(words) == sorted(f"w{n}" for n in range(40))
    assert b.pipeline.stages[0].step.thread == "step[0]"
    assert len(told) == 40
    assert b.balanced
