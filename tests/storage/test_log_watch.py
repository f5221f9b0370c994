import sqlite3
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from streamd.storage import database as module
from streamd.storage.database import Database


async def test_a_reader_that_pins_the_log_is_told_once_and_so_is_its_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOG_ALARM_BYTES", 2**20)
    monkeypatch.setattr(module, "_LOG_ALARM_AFTER_S", 0.0)

    async def write_much() -> None:
        for _ in range(5):
            await database.execute("CREATE TABLE IF NOT EXISTS big (b BLOB)")
            await database.execute("INSERT INTO big VALUES (zeroblob(400000))")
            await database._checkpoint_now()

    reader = sqlite3.connect(database.path, isolation_level=None)
    with capture_logs() as told:
        await write_much()
        assert [event["event"] for event in told] == []
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM t").fetchone()
        await write_much()
        reader.execute("COMMIT")
        reader.close()
        await write_much()
    assert [event["event"] for event in told] == ["wal_pinned", "wal_released"]
    assert told[0]["not_in_file_bytes"] > 2**20
    assert database.log_pinned == 1


async def test_pages_of_a_file_made_for_it_go_back_to_the_disk_in_steps(tmp_path: Path) -> None:
    database = Database(tmp_path / "data.db", reclaim=True)
    await database.open()
    await database.execute("CREATE TABLE t (b BLOB)")
    await database.execute("INSERT INTO t VALUES (zeroblob(4000000))")
    await database.execute("DELETE FROM t")
    before, free_bytes = await database.sizes_bytes()
    assert free_bytes > 3_900_000
    await database.vacuum_some(100)
    after, _ = await database.sizes_bytes()
    assert before - after == 100 * 4096
    await database.close()
