import asyncio
import gc
import weakref

from streamd.runtime.turn import Line, Turn


async def passed(turn: Turn, seen: list[str], name: str) -> None:
    await turn.come()
    seen.append(name)


async def test_who_joined_first_passes_first_however_late() -> None:
    line, seen = Line(), list[str]()
    first, second, third = line.join(), line.join(), line.join()
    waiting = [
        asyncio.create_task(passed(third, seen, "third")),
        asyncio.create_task(passed(second, seen, "second")),
    ]
    for _ in range(3):
        await asyncio.sleep(0)
    assert seen == []
    await passed(first, seen, "first")
    first.leave()
    await waiting[1]
    assert seen == ["first", "second"], "the third waits until the second has left"
    second.leave()
    await waiting[0]
    assert seen == ["first", "second", "third"]


async def test_nobody_waits_for_one_who_left_before() -> None:
    line = Line()
    line.join().leave()
    async with asyncio.timeout(60):
        await line.join().come()


async def test_one_who_gave_up_waiting_does_not_stop_the_others() -> None:
    line, seen = Line(), list[str]()
    first, second, third = line.join(), line.join(), line.join()
    impatient = asyncio.create_task(second.come())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait({impatient})
    waiting = asyncio.create_task(passed(third, seen, "third"))
    await asyncio.sleep(0)
    first.leave()
    second.leave()
    await waiting
    assert seen == ["third"]


async def test_a_line_keeps_nobody_who_has_passed_or_left() -> None:
    class Seen(Turn):
        __slots__ = ("__weakref__",)

    passed_one, left_one = Seen(None), Seen(None)
    behind, beside = Turn(passed_one), Turn(left_one)
    gone = weakref.ref(passed_one), weakref.ref(left_one)
    passed_one.leave()
    await behind.come()
    beside.leave()
    del passed_one, left_one
    gc.collect()
    assert [each() for each in gone] == [None, None]
