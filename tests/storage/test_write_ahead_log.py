import sqlite3

import pytest
from structlog.testing import capture_logs

from streamd.storage import write_ahead_log as module
from streamd.storage.database import Database


async def test_a_reader_that_pins_the_log_is_told_once_and_so_is_its_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ALARM_BYTES", 2**20)
    monkeypatch.setattr(module, "_ALARM_AFTER_S", 0.0)

    async def write_much() -> None:
        for _ in range(5):
            await database.execute("CREATE TABLE IF NOT EXISTS big (b BLOB)")
            await database.execute("INSERT INTO big VALUES (zeroblob(400000))")
            await database.write_ahead_log.checkpoint_now()

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
    assert database.write_ahead_log.pinned == 1
