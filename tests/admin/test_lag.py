import asyncio

from structlog.testing import capture_logs

from streamd.admin.lag import LoopLag
from streamd.core.now import Now


def test_the_worst_delay_is_kept_and_forgotten_after_the_window() -> None:
    lag = LoopLag(lambda: Now(0.0, 0.0))
    assert lag.worst_s == 0.0
    lag.observe(2.0)
    lag.observe(-0.1)
    assert lag.worst_s == 2.0
    for _ in range(20):
        lag.observe(0.001)
    assert lag.worst_s == 0.001


async def test_each_tick_measures_and_calls_and_survives_a_fault_of_the_called() -> None:
    readings = iter([0.0, 1.5, 1.5, 2.0, 2.0])  # the first sleep ends a second late, the second in time
    lag = LoopLag(lambda: Now(0.0, next(readings)))
    seen: list[float] = []
    twice = asyncio.Event()

    def on_tick(now: Now) -> None:
        seen.append(now.mono_s)
        if len(seen) == 2:
            twice.set()
        raise RuntimeError("broken")

    with capture_logs() as logged:
        task = asyncio.create_task(lag.run(on_tick))
        await twice.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert seen == [1.5, 2.0]
    assert lag.worst_s == 1.0
    assert [entry["event"] for entry in logged][:1] == ["admin_watch_failed"]
