"""The keeper takes states only of steps that are at work."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

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
        context = SimpleNamespace(name=self.name, pipeline="main", base_dir=Path())
        self.step = SimpleNamespace(
            state_settings=dict, context=context, code_digest=lambda: "", state_version=1
        )

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


class Fails(Watched):
    """A stage whose state cannot be taken while `error` is set."""

    name = "river[1]"
    error: Exception | None = AttributeError("cannot pickle a lambda")

    async def snapshot(self) -> bytes:
        if self.error is not None:
            raise self.error
        return b"fails no more"


class Large(Watched):
    """A stage whose state is larger than `max_bytes`."""

    name = "window[2]"

    async def snapshot(self) -> bytes:
        return b"x" * 1001


async def keeper_with_file(path: Path, stages: list[Any], numbered: list[Any]) -> tuple[StateKeeper, Group]:
    workers: Any = SimpleNamespace(gate=Gate(), has_ended=False, pipelines=[])
    keeper = StateKeeper(Databases(), path, Books(), interval_s=0.001, max_bytes=1000, clock=read_clock)
    await keeper._open_store()
    keeper._groups = [Group(workers, stages, numbered)]
    return keeper, keeper._groups[0]


async def stored(keeper: StateKeeper) -> dict[str, bytes]:
    assert keeper._store is not None
    return {row.step: row.state for row in await keeper._store.current()}


async def test_a_step_without_a_state_is_named_and_the_others_are_stored(tmp_path: Path) -> None:
    first, fails, large, last = Watched(), Fails(), Large(), Watched()
    last.name = "count[3]"
    keeper, group = await keeper_with_file(tmp_path, [first, fails, large, last], [])
    try:
        with capture_logs() as logged:
            for _ in range(2):
                await keeper._at_end(group)
                await keeper.finish()
        assert await stored(keeper) == {"count[0]": b"state", "count[3]": b"state"}
        named = [(line["event"], line.get("step", line.get("steps"))) for line in logged]
        not_stored = ("state_not_stored", "main > river[1], main > window[2]")
        taken = [("state_not_taken", "main > river[1]"), ("state_too_large", "main > window[2]")]
        assert named == [*taken, not_stored, not_stored]
        assert "cannot pickle a lambda" in logged[0]["error"]
        assert [state for _, _, state in group.final_states()] == [b"state", b"", b"", b"state"]
        fails.error = None
        await keeper._at_end(group)
        await keeper.finish()
        fails.error = ValueError("again")
        with capture_logs() as logged:
            await keeper._at_end(group)
            await keeper.finish()
        assert logged[0]["event"] == "state_not_taken"
        assert (await stored(keeper))["river[1]"] == b"fails no more"
    finally:
        await keeper.close()


@pytest.mark.parametrize("odd", [Fails, Large])
async def test_nothing_is_stored_beside_a_missing_state_if_a_source_reads_again(
    tmp_path: Path, odd: type[Watched]
) -> None:
    numbering: Any = SimpleNamespace(
        name="log", framing="", framing_since=0, cut=lambda _: 7, is_settled=lambda _: True, release=print
    )
    codec = SimpleNamespace(holds_open=False)
    feed = SimpleNamespace(codec=codec, buffer=SimpleNamespace(records=0))
    keeper, group = await keeper_with_file(
        tmp_path, [Watched(), odd()], [SimpleNamespace(source="log", numbering=numbering, feed=feed)]
    )
    try:
        await keeper._at_end(group)
        assert group.final is None
        with capture_logs() as logged:
            await keeper.finish()
        assert await stored(keeper) == {}
        assert [(line["event"], line["why"]) for line in logged] == [
            ("state_not_stored", "it could not be taken")
        ]
    finally:
        await keeper.close()


async def test_only_failing_steps_leave_the_file_as_it_is(tmp_path: Path) -> None:
    keeper, group = await keeper_with_file(tmp_path, [Fails()], [])
    try:
        await keeper._at_end(group)
        await keeper.finish()
        assert group.final is None
        assert await stored(keeper) == {}
    finally:
        await keeper.close()
