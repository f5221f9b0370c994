import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamd.core.errors import SinkError
from streamd.core.sums import Entry
from streamd.sqlite import write_ahead_log as module
from streamd.sqlite.database import Database
from streamd.sqlite.write_ahead_log import WriteAheadLog


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


async def test_a_checkpoint_comes_with_the_thousandth_row_and_no_sooner_than_a_second_after_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def fetch(sql: str) -> list[tuple[Any, ...]]:
        asked.append(sql)
        return [(0, 10, 10)] if "checkpoint" in sql else [(4096,)]

    log = WriteAheadLog(Path("data.db"), fetch)
    monkeypatch.setattr(module, "_CHECKPOINT_EVERY_S", 3600.0)
    log.committed(999)
    assert log.checkpoint is None
    log.committed(1)
    first = log.checkpoint
    assert first is not None
    await first
    assert asked == ["PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA page_size"]
    log.committed(5000)
    assert log.checkpoint is first
    monkeypatch.setattr(module, "_CHECKPOINT_EVERY_S", 0.0)
    log.committed(1)
    second = log.checkpoint
    assert second is not first
    assert second is not None
    await second
    log.committed(999)
    assert log.checkpoint is second, "the rows are counted from the checkpoint on"
    log.committed(1)
    assert log.checkpoint is not second
    assert log.checkpoint is not None
    await log.checkpoint


async def test_a_log_that_stays_long_for_five_seconds_is_an_alarm_and_each_time_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s, pages = 100.0, 0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now_s))

    async def fetch(sql: str) -> list[tuple[Any, ...]]:
        return [(0, pages, 10)] if "checkpoint" in sql else [(4096,)]

    log = WriteAheadLog(Path("data.db"), fetch)
    bound = module._ALARM_BYTES // 4096
    with capture_logs() as told:
        for pages, later_s, alarms in (  # noqa: B007 - `fetch` tells it
            (bound, 60.0, 0),  # not longer than the bound
            (bound + 1, 60.0, 0),
            (bound + 1, 4.9, 0),
            (bound, 60.0, 0),  # begun anew in time
            (bound + 1, 60.0, 0),
            (bound + 1, 4.9, 0),
            (bound + 1, 0.1, 1),
            (bound + 1, 60.0, 1),  # said once
            (bound, 1.0, 1),
            (bound + 1, 1.0, 1),
            (bound + 1, 5.0, 2),
        ):
            now_s += later_s
            await log.checkpoint_now()
            assert log.pinned == alarms
    assert [event["event"] for event in told] == ["wal_pinned", "wal_released", "wal_pinned"]
    assert told[0]["log_bytes"] == (bound + 1) * 4096
    assert told[0]["not_in_file_bytes"] == (bound - 9) * 4096


async def test_a_checkpoint_that_finds_the_file_locked_is_left_to_the_next() -> None:
    async def fetch(_: str) -> list[tuple[Any, ...]]:
        raise SinkError("locked", "somebody writes")

    log = WriteAheadLog(Path("data.db"), fetch)
    await log.checkpoint_now()
    assert log.pinned == 0


@pytest.mark.parametrize("at_once", [False, True])
async def test_what_is_committed_is_brought_into_the_file(database: Database, at_once: bool) -> None:
    insert = ("INSERT INTO t VALUES (?)", (1,))
    entry = Entry("lab", "readings", "store", "stored", "", 1000)
    in_file_bytes = database.path.stat().st_size
    if at_once:
        await database.write([insert], [entry])
    else:
        async with database.transaction() as entries:
            await database.execute(*insert)
            entries.append(entry)
    assert database.path.stat().st_size == in_file_bytes
    assert database.write_ahead_log.checkpoint is not None
    await database.write_ahead_log.checkpoint
    assert database.path.stat().st_size > in_file_bytes
