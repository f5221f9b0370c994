import asyncio

import pytest
from structlog.testing import capture_logs

from streamd.core.clock import read_clock
from streamd.runtime import named_tasks
from streamd.runtime.named_tasks import NamedTasks


async def test_a_task_that_fails_stops_the_daemon_and_is_named() -> None:
    stop = asyncio.Event()
    tasks = NamedTasks(stop)

    async def fail() -> None:
        raise RuntimeError("a bug")

    with capture_logs() as told:
        await asyncio.wait((tasks.start("sink rows", fail()),))
        await asyncio.sleep(0)
    assert tasks.failed
    assert stop.is_set()
    assert [(event["event"], event["part"]) for event in told] == [("part_failed", "sink rows")]


async def test_a_task_that_was_replaced_is_waited_for_too() -> None:
    tasks, ended, let_go = NamedTasks(asyncio.Event()), [], asyncio.Event()

    async def work(number: int) -> None:
        await let_go.wait()
        ended.append(number)

    for number in range(2):
        tasks.start("source lab", work(number))
    tasks.start("sink rows", asyncio.Event().wait())
    assert sorted(name.partition("#")[0] for name in tasks) == ["sink rows", "source lab", "source lab "]
    let_go.set()
    await tasks.finish("source ", read_clock().mono_s + 60)
    assert sorted(ended) == [0, 1]
    await asyncio.sleep(0)
    assert sorted(tasks) == ["sink rows", "source lab"]
    tasks.cancel()


async def test_what_is_late_is_cancelled_and_what_resists_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(named_tasks, "CLOSE_TIMEOUT_S", 0.01)
    tasks, is_over = NamedTasks(asyncio.Event()), asyncio.Event()

    async def resist() -> None:
        while not is_over.is_set():
            try:
                await is_over.wait()
            except asyncio.CancelledError:
                continue

    late, resisting = tasks.start("sink late", asyncio.Event().wait()), tasks.start("sink hangs", resist())
    await tasks.finish("sink ", read_clock().mono_s)
    assert late.cancelled()
    assert not resisting.done()
    assert not tasks.failed
    await tasks.finish("pipeline ", read_clock().mono_s + 60)
    is_over.set()
    await resisting
