from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamd.storage.database import Database


@pytest.fixture(autouse=True)
async def nothing_stays_open(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
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
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "data.db")
    await database.open()
    await database.execute("CREATE TABLE t (a INTEGER UNIQUE) STRICT")
    yield database
    await database.close()
