import asyncio
from typing import Any

from streamd.core.ack import Ack, Status
from streamd.core.contracts import BadRecord, Processed, StepContext
from streamd.core.frames import Frames
from streamd.runtime.meter import SharedMeter
from streamd.runtime.stage import Stage
from streamd.runtime.turn import Line


class Elsewhere:
    """Where a step is run that waits: each batch comes back when a test says so."""

    def __init__(self, function: Any = Processed) -> None:
        self.concurrency = 8
        self.line = Line()
        self.meter = SharedMeter(0.0)
        self.function = function
        self.begun: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    by_key = False

    def enter(self) -> None:
        """Batches may overtake each other on the way in."""

    async def process(self, records: list[Any], _: Any, begin: Any, _entry: Any) -> Processed:
        begin()
        name = records[0]["word"]
        self.begun.append(name)
        await self.gates.setdefault(name, asyncio.Event()).wait()
        done: Processed = self.function(records)
        return done

    async def close(self) -> None: ...

    def let(self, name: str) -> None:
        self.gates.setdefault(name, asyncio.Event()).set()


def same(_: Any, records: list[Any]) -> Processed:
    return Processed(records)


def waiting(b: Any, index: int = 0, function: Any = Processed) -> Elsewhere:
    elsewhere = Elsewhere(function)
    b.pipeline.stages[index].offloaded = elsewhere
    b.workers.count = 8
    return elsewhere


def words(b: Any) -> list[str]:
    return [record["word"] for batch in b.deliveries[0].buffer._items for record in batch.records]


async def turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_batches_go_on_in_the_order_they_came_whichever_comes_back_first(bench: Any) -> None:
    seen: list[str] = []

    def after(_: Any, records: list[Any]) -> Processed:
        seen.extend(record["word"] for record in records)
        return Processed(records)

    b = bench(same, after)
    elsewhere = waiting(b)
    running = asyncio.create_task(b.workers.run())
    for name in "abc":
        b.intake.offer(b.frames(name.encode()))
        await turns()
    assert elsewhere.begun == ["a", "b", "c"]
    for name, expected in (("c", []), ("b", []), ("a", ["a", "b", "c"])):
        elsewhere.let(name)
        await turns()
        assert seen == words(b) == expected
    b.workers.close()
    await running
    assert b.records.in_flight == 0


async def test_a_step_that_waits_is_run_nowhere_else(bench: Any) -> None:
    here: list[Any] = []

    def step(_: Any, records: list[Any]) -> Processed:
        here.extend(records)
        return Processed(records)

    b = bench(same, step, same)
    elsewhere = waiting(b, 1)
    elsewhere.let("a")
    b.intake.offer(b.frames(b"a"))
    b.workers.close()
    await b.workers.run()
    assert here == []
    assert words(b) == elsewhere.begun == ["a"]


async def test_what_a_waiting_step_makes_is_in_the_books_under_its_own_name(bench: Any) -> None:
    def judged(records: list[Any]) -> Processed:
        return Processed(
            records[:2], filtered=1, absorbed=1, emitted=1, rejects=[BadRecord(records[2], "no")]
        )

    b = bench(same, same, same)
    waiting(b, 1, judged).let("a")
    b.intake.offer(b.frames(b"a b c d"))
    b.workers.close()
    await b.workers.run()
    book = b.records
    assert (book.filtered, book.absorbed, book.emitted, book.out) == (1, 1, 1, 2)
    assert book.rejected == {"step[1]": 1}
    assert book.in_flight == 0
    assert [(x.stage, x.pipeline, x.source, x.peer, x.received_at) for x in b.office.letters] == [
        ("step[1]", "p", "s", "127.0.0.1:5", 1e9)
    ]


async def test_a_batch_of_which_a_waiting_step_leaves_nothing_goes_no_further_and_is_answered(
    bench: Any,
) -> None:
    told: list[Status] = []
    later: list[Any] = []

    def after(_: Any, records: list[Any]) -> Processed:
        later.append(records)
        return Processed(records)

    b = bench(same, after)
    waiting(b, 0, lambda records: Processed([], filtered=len(records))).let("a")
    b.intake.offer(b.frames(b"a b", ack=Ack(told.append)))
    b.workers.close()
    await b.workers.run()
    assert told == [Status.FILTERED]
    assert later == []
    assert not b.books.deliveries
    assert b.records.in_flight == 0


async def test_a_batch_that_leaves_early_lets_the_next_one_pass(bench: Any) -> None:
    b = bench(same)
    elsewhere = waiting(
        b,
        0,
        lambda records: Processed(
            [r for r in records if r["word"] != "a"], filtered=records[0]["word"] == "a"
        ),
    )
    running = asyncio.create_task(b.workers.run())
    for name in "ab":
        b.intake.offer(b.frames(name.encode()))
        await turns()
    elsewhere.let("b")
    await turns()
    elsewhere.let("a")
    await turns()
    assert words(b) == ["b"]
    b.workers.close()
    await running


def judged(records: list[Any]) -> Processed:
    """Of `x` a reject, of `f` nothing, of `a` two."""
    words = [record["word"] for record in records]
    return Processed(
        [record for record in records if record["word"] not in "xf"] + [{"word": "A"}] * words.count("a"),
        filtered=words.count("f"),
        emitted=words.count("a"),
        rejects=[BadRecord(record, "no") for record in records if record["word"] == "x"],
    )


def senders(count: int) -> tuple[list[list[Status]], list[Ack]]:
    told: list[list[Status]] = [[] for _ in range(count)]
    return told, [Ack(each.append) for each in told]


def test_a_step_sees_the_records_of_each_sender_apart_and_each_hears_of_its_own(bench: Any) -> None:
    seen: list[list[str]] = []

    def step(_: Any, records: list[Any]) -> Processed:
        seen.append([record["word"] for record in records])
        return judged(records)

    told, acks = senders(4)
    kept: list[tuple[list[str], list[int]]] = []
    b = bench(step)

    def keep(letters: list[Any], acks: Any) -> None:
        kept.append(([letter.payload["word"] for letter in letters], [n for n, _ in acks.runs]))
        acks.settle(Status.REJECTED)

    b.office.keep = keep
    words = (b"b a", b"x c x", b"f", b"x")
    parts = [b.frames(word, ack=ack) for word, ack in zip(words, acks, strict=True)]
    batch = b.process(Frames.merge([*parts, b.frames(b"d")]))
    assert seen == [["b", "a"], ["x", "c", "x"], ["f"], ["x"], ["d"]]
    assert [record["word"] for record in batch.records] == ["b", "a", "A", "c", "d"]
    assert [(n, ack is None) for n, ack in batch.acks.runs] == [(3, False), (1, False), (1, True)]
    assert kept == [(["x", "x"], [2]), (["x"], [1])]
    assert told == [[], [], [Status.FILTERED], [Status.REJECTED]]
    batch.settle(Status.DELIVERED)
    assert told == [[Status.DELIVERED], [Status.REJECTED], [Status.FILTERED], [Status.REJECTED]]
    book = b.records
    assert (book.taken_in, book.emitted, book.filtered, book.rejected) == (8, 1, 1, {"step[0]": 3})
    assert book.in_flight == len(batch)


async def test_a_waiting_step_sees_the_records_of_each_sender_apart_too(bench: Any) -> None:
    told, acks = senders(3)
    b = bench(same, same)
    elsewhere = waiting(b, 0, judged)
    for word, ack in zip((b"a", b"x", b"f"), acks, strict=True):
        elsewhere.let(word.decode())
        b.intake.offer(b.frames(word, ack=ack))
    b.workers.close()
    await b.workers.run()
    assert elsewhere.begun == ["a", "x", "f"]
    assert words(b) == ["a", "A"]
    assert told == [[], [Status.REJECTED], [Status.FILTERED]]
    [batch] = b.deliveries[0].buffer.take(10)
    batch.settle(Status.DELIVERED)
    assert told[0] == [Status.DELIVERED]
    assert b.records.in_flight == 0


def test_a_batch_of_which_a_step_leaves_nothing_has_no_acks_any_more(bench: Any) -> None:
    told, acks = senders(2)
    b = bench(lambda _, records: judged(records), same)
    assert b.process(Frames.merge([b.frames(b"f", ack=acks[0]), b.frames(b"x", ack=acks[1])])) is None
    assert told == [[Status.FILTERED], [Status.REJECTED]]


def test_what_a_step_held_settles_with_the_records_that_it_is_part_of(bench: Any) -> None:
    held: list[Any] = []

    def step(self: Any, records: list[Any]) -> Processed:
        if records[0]["word"] == "first":
            held.append(self.context.hold())
            return Processed([], absorbed=1)
        return Processed(records, holds=held)

    told, acks = senders(2)
    b = bench(step)
    assert b.process(b.frames(b"first", ack=acks[0])) is None
    assert told == [[], []]
    batch = b.process(b.frames(b"second", ack=acks[1]))
    assert b.pipeline.stages[0].holding.fail() == 0
    assert told == [[], []]
    batch.settle(Status.REJECTED)
    assert told == [[Status.REJECTED]] * 2


def test_a_step_that_takes_over_goes_on_with_the_executor_and_the_log_of_the_one_before(
    bench: Any, tmp_path: Any
) -> None:
    before = bench(same).pipeline.stages[0]
    before.offloaded = Elsewhere()

    class Waiting(type(before.step)):  # type: ignore[misc]  # a class that a fixture made
        offload = "never looked at"

    context = StepContext("step[0]", "p", None, tmp_path)
    after = Stage("step[0]", Waiting(None, context), before)
    assert after.offloaded is before.offloaded
    assert after.log is before.log
    assert after.holding is before.holding
    anew = Stage("step[0]", type(before.step)(None, context))
    assert anew.offloaded is None
    assert anew.log is not before.log


def test_a_pipeline_wants_dicts_for_a_step_or_a_condition(bench: Any) -> None:
    assert not bench().pipeline.wants_dicts
    assert bench(same).pipeline.wants_dicts
    assert bench(where={0: "word == 'a'"}).pipeline.wants_dicts


def test_a_pipeline_may_have_as_many_batches_under_way_as_its_waiting_steps_together(bench: Any) -> None:
    b = bench(same, same, same)
    assert b.pipeline.concurrency == 0
    waiting(b, 0)
    waiting(b, 2)
    assert b.pipeline.concurrency == 16
