import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from streamd.core.errors import EnvironmentFault
from streamd.sqlite.databases import Databases
from streamd.state.store import FILE, StateStore

COLUMNS = (
    "id INTEGER PRIMARY KEY, pipeline, step, type, config_hash, version, format, saved_at, inputs,"
    " set_aside_at, why, state"
)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE state (a)",
        "CREATE VIEW state AS SELECT 1 AS id",
        "CREATE TABLE x (a); CREATE INDEX state ON x (a)",
        f"CREATE TABLE state ({COLUMNS.replace(', why', '')})",
        f"CREATE TABLE state ({COLUMNS.replace('id INTEGER PRIMARY KEY', 'number')}) ",
    ],
)
async def test_a_table_of_another_kind_is_refused_in_the_words_of_check(tmp_path: Path, sql: str) -> None:
    path = tmp_path / FILE
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(sql)
    with pytest.raises(EnvironmentFault, match="cannot store the state of steps in ") as rehearsed:
        StateStore.rehearse(path)
    databases = Databases()
    db = await databases.acquire(path, "full")
    with pytest.raises(EnvironmentFault) as opened:
        await StateStore(db).open()
    await databases.release(db)
    assert str(opened.value) == str(rehearsed.value)
