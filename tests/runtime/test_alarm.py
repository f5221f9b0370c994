import asyncio

from streamd.core.now import Now
from streamd.runtime.alarm import Alarm


class World:
    def __init__(self) -> None:
        self.mono_s = 100.0
        self.rung = 0
        self.alarm = Alarm(lambda: Now(0.0, self.mono_s), self.ring)

    def ring(self) -> None:
        self.rung += 1

    async def pace(self) -> None:
        """Long enough for a timer of the test's deadlines, which are at most 2 ms away."""
        await asyncio.sleep(0.01)


async def test_it_rings_once_when_the_clock_has_reached_the_deadline_and_not_before() -> None:
    w = World()
    w.alarm.set(100.001)
    await w.pace()
    assert w.rung == 0, "the timer was over, but not on this clock"
    w.mono_s = 100.001
    await w.pace()
    await w.pace()
    assert w.rung == 1


async def test_a_deadline_that_has_passed_rings_at_once_and_a_set_again_rings_again() -> None:
    w = World()
    for n in range(1, 3):
        w.alarm.set(99.0)
        await w.pace()
        assert w.rung == n


async def test_another_deadline_replaces_the_one_before_and_none_takes_it_away() -> None:
    w = World()
    w.alarm.set(100.001)
    w.alarm.set(200.0)
    w.mono_s = 101.0
    await w.pace()
    assert w.rung == 0
    w.alarm.set(100.002)
    w.alarm.set(None)
    await w.pace()
    assert w.rung == 0
    w.alarm.set(100.002)
    w.alarm.cancel()
    await w.pace()
    assert w.rung == 0
    w.alarm.set(100.002)
    await w.pace()
    assert w.rung == 1
