from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamd.sqlite.database import Database


@pytest.fixture(autouse=True)
def in_every_test(no_database_stays_open: None) -> None:
    del no_database_stays_open


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "data.db")
    await database.open()
    await database.execute("CREATE TABLE t (a INTEGER UNIQUE) STRICT")
    yield database
    await database.close()
