"""Every asynchronous test runs on uvloop, as the daemon does; those of the sources on asyncio too."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest
import uvloop

from streamd.storage import connection
from streamd.storage.database import Database


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    del config
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    if "/sources/" in item.nodeid:
        factories["asyncio"] = asyncio.new_event_loop
    return factories


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits for what a thread, a socket or another process brings about; fails when it never does."""
    return _until


@pytest.fixture
async def no_database_stays_open(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A connection's thread that is left behind by a failed test would keep Python from ending."""
    opened: list[Database] = []
    real = Database.open

    async def open_and_remember(self: Database) -> None:
        opened.append(self)
        await real(self)

    monkeypatch.setattr(Database, "open", open_and_remember)
    yield
    for database in opened:
        await database._disconnect()


@pytest.fixture
def a_lock_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that somebody else writes into is not waited for."""
    monkeypatch.setattr(connection, "_BUSY_TIMEOUT_S", 0.01)
