"""A reload runs alone; its outcome is logged, shown, and given to the client that asked."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from streamd.admin.control import AskingProcess
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.reload.changes import Changes
from streamd.reload.reloads import Reloads, before_any_change
from tests.admin.conftest import World

PEER = AskingProcess(7, 8, 9)


class Applied:
    """A reload that a test refuses or lets pass."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.refusal: ConfigError | None = None

    async def __call__(self, dry_run: bool) -> Changes:
        self.asked.append(dry_run)
        await asyncio.sleep(0)
        if self.refusal is not None:
            raise self.refusal
        return Changes(sources={"kept": ["lab"], "added": ["floor"]})


def start(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.create_task(work)


async def test_a_client_gets_the_changes() -> None:
    world, applied = World(), Applied()
    reloads = Reloads(applied, world.view)
    answer = await reloads.answer(False, PEER, start)
    assert (answer["dry_run"], answer["nothing"], answer["sources"]["added"]) == (False, False, ["floor"])
    assert world.view.reloaded_at_wall_s == world.clock().wall_s
    assert (await reloads.answer(True, PEER, start))["dry_run"]
    assert applied.asked == [False, True]


async def test_a_refusal_reaches_the_client_and_the_status_until_a_reload_succeeds() -> None:
    world, applied = World(), Applied()
    reloads = Reloads(applied, world.view)
    applied.refusal = ConfigError("a.toml:1: wrong")
    with pytest.raises(ConfigError, match=r"a\.toml:1: wrong"):
        await reloads.answer(False, PEER, start)
    assert world.view.reload_failure is not None
    assert world.view.reload_failure.why == "a.toml:1: wrong"
    applied.refusal = None
    assert isinstance(await reloads.ask(asked_by="SIGHUP"), Changes)
    assert world.view.reload_failure is None


async def test_a_client_that_disconnects_does_not_end_the_reload() -> None:
    world, applied = World(), Applied()
    reloads = Reloads(applied, world.view)
    asking = asyncio.create_task(reloads.answer(False, PEER, start))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait({asking})
    async with reloads.lock:
        assert applied.asked == [False]
        assert world.view.reloaded_at_wall_s is not None


def test_an_unexpected_error_before_any_change_is_a_refusal() -> None:
    with pytest.raises(EnvironmentFault, match="an unexpected error"), before_any_change():
        raise ZeroDivisionError
    with pytest.raises(ConfigError), before_any_change():
        raise ConfigError("as it is")
