import asyncio
from typing import Any

from streamd.core.ack import Ack, Status
from streamd.core.contracts import BadRecord, Processed, StepContext
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

    async def process(self, records: list[Any], _: Any, begin: Any) -> Processed:
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
