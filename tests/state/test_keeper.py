"""The keeper takes states only of steps that are at work."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streamd.core.books import Books
from streamd.core.clock import read_clock
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
