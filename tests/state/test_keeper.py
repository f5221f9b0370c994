"""The keeper takes states only of steps that are at work."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streamd.core.books import Books
from streamd.core.clock import read_clock
from streamd.core.now import Now
from streamd.runtime.gate import Gate
from streamd.sqlite.databases import Databases
from streamd.state.keeper import StateKeeper
from streamd.state.snapshot import Group


class Watched:
    """A stage that counts how often its state was taken."""

    name = "count[0]"

    def __init__(self) -> None:
        self.taken = 0
        config = SimpleNamespace(model_dump=lambda **_: {})
        context = SimpleNamespace(name=self.name, pipeline="main", base_dir=Path())
        self.step = SimpleNamespace(config=config, context=context, code_digest=lambda: "", state_version=1)

    async def snapshot(self) -> bytes:
        self.taken += 1
        return b"state"


class Slow(Watched):
    """A stage whose snapshot takes until `go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.at_once = self.most_at_once = 0

    async def snapshot(self) -> bytes:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await self.go.wait()
        self.at_once -= 1
        return await super().snapshot()


@pytest.mark.parametrize("has_ended", [False, True])
async def test_no_state_is_taken_of_steps_whose_workers_have_ended(
    tmp_path: Path, until: Callable[..., Any], *, has_ended: bool
) -> None:
    stage: Any = Watched()
    gate = Gate()
    workers: Any = SimpleNamespace(gate=gate, has_ended=has_ended, pipelines=[])
    keeper = StateKeeper(Databases(), tmp_path, Books(), interval_s=0.001, max_bytes=1000, clock=read_clock)
    keeper._groups = [Group(workers, [stage], [])]
    passed = 0
    shut = gate.shut

    def counted() -> Any:
        nonlocal passed
        passed += 1
        return shut()

    workers.gate.shut = counted
    running = asyncio.create_task(keeper.run())
    await until(lambda: passed > 5)
    running.cancel()
    await asyncio.wait({running})
    assert (stage.taken == 0) == has_ended


def keeper_of(stage: Any, path: Path, clock: Callable[[], Now]) -> tuple[StateKeeper, Group]:
    workers: Any = SimpleNamespace(gate=Gate(), has_ended=False, pipelines=[])
    keeper = StateKeeper(Databases(), path, Books(), interval_s=0.001, max_bytes=1000, clock=clock)
    keeper._groups = [Group(workers, [stage], [])]
    return keeper, keeper._groups[0]


async def test_the_last_state_waits_for_a_snapshot_under_way(
    tmp_path: Path, until: Callable[..., Any]
) -> None:
    stage = Slow()
    keeper, group = keeper_of(stage, tmp_path, read_clock)
    running = asyncio.create_task(keeper.run())
    await until(lambda: stage.at_once)
    ending = asyncio.create_task(keeper._at_end(group))
    await asyncio.sleep(0)
    stage.go.set()
    await ending
    running.cancel()
    await asyncio.wait({running})
    assert (stage.most_at_once, stage.taken) == (1, 2)
    assert group.final is not None


async def test_a_snapshot_during_which_the_workers_ended_is_not_stored(
    tmp_path: Path, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Slow()
    keeper, group = keeper_of(stage, tmp_path, read_clock)
    stored: list[Any] = []

    async def put(_: Group, snapshot: Any) -> None:
        stored.append(snapshot)

    monkeypatch.setattr(keeper, "_put", put)
    running = asyncio.create_task(keeper.run())
    await until(lambda: stage.at_once)
    group.workers.has_ended = True
    stage.go.set()
    await until(lambda: stage.taken and not group.workers.gate.is_shut)
    running.cancel()
    await asyncio.wait({running})
    assert stored == []


async def test_snapshots_that_take_long_take_at_most_a_tenth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    slept: list[float] = []
    stage = Watched()
    keeper, group = keeper_of(stage, tmp_path, lambda: Now(now_s, now_s))
    snapshot = stage.snapshot

    async def slow() -> bytes:
        nonlocal now_s
        now_s += 4.0
        return await snapshot()

    async def sleep(delay_s: float) -> None:
        slept.append(delay_s)
        if len(slept) > 2:
            raise asyncio.CancelledError

    monkeypatch.setattr(stage, "snapshot", slow)
    monkeypatch.setattr("streamd.state.keeper.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await keeper._keep(group)
    assert slept == [0.001, 36.0, 36.0]
