import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from streamd.core.errors import EnvironmentFault, SinkError
from streamd.core.sums import Entry
from streamd.sqlite import recovery


async def test_while_another_connection_writes_the_sink_says_locked(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"})
    batches = [batch_of([{"a": i} for i in range(5000)])]
    with bench.write_lock(), pytest.raises(SinkError, match="locked"):
        await sink.write(batches)
    assert bench.query("SELECT count(*) FROM t") == [(0,)]
    await sink.write(batches)
    assert bench.query("SELECT count(*) FROM t") == [(5000,)]


async def test_a_sink_whose_table_is_ready_opens_while_another_connection_writes(bench: Any) -> None:
    await bench.open(table="t", columns={"a": "int"}, indexes=[["a"]], unique=["a"])
    with bench.write_lock():
        await bench.open(table="t", columns={"a": "int"}, indexes=[["a"]], unique=["a"])
        with pytest.raises(EnvironmentFault, match="locked"):
            await bench.open(table="other", columns={"a": "int"})


async def test_min_free_stops_before_the_disk_is_full_and_goes_on_after(
    bench: Any, batch_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await bench.open(retention={"min_free": "10MiB"})
    free = [20 * 2**20]
    monkeypatch.setattr("streamd.sinks.sqlite.free_bytes", lambda _: free[0])
    await sink.write([batch_of([{"a": 1}])])
    free[0] = 10 * 2**20 - 1
    with pytest.raises(SinkError, match="min_free"):
        await sink.write([batch_of([{"a": 3}])])
    free[0] = 10 * 2**20
    await sink.write([batch_of([{"a": 3}])])
    assert bench.query("SELECT count(*) FROM records") == [(2,)]


async def test_two_sinks_on_one_path_write_at_the_same_time(bench: Any, batch_of: Any) -> None:
    one = await bench.open(table="one", columns={"a": "int"})
    two = await bench.open(table="two", path="./data.db")

    async def fill(sink: Any) -> None:
        for _ in range(10):
            await sink.write([batch_of([{"a": i} for i in range(1500)])])

    await asyncio.gather(fill(one), fill(two))
    assert bench.query("SELECT (SELECT count(*) FROM one), (SELECT count(*) FROM two)") == [(15000, 15000)]


class _Ledger:
    def __init__(self) -> None:
        self.told: list[Entry] = []

    def rows(self, entries: Sequence[Entry]) -> tuple[str, list[tuple[Any, ...]]]:
        return "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?)", [tuple(entry) for entry in entries]

    def committed(self, entries: Sequence[Entry]) -> None:
        self.told += entries


@pytest.fixture
async def ledger(bench: Any, tmp_path: Path) -> AsyncIterator[_Ledger]:
    database = await bench.databases.acquire(tmp_path / "data.db")
    await database.execute("CREATE TABLE ledger (source, pipeline, sink, counter, reason, n)")
    database.ledger = _Ledger()
    yield database.ledger
    await bench.databases.release(database)


async def test_the_ledger_counts_in_the_same_transaction(bench: Any, batch_of: Any, ledger: _Ledger) -> None:
    sink = await bench.open(table="t", columns={"k": "int"}, unique=["k"])
    await sink.write(
        [
            batch_of([{"k": 1}, {"k": 1}, {}]),
            batch_of([{"k": 2}]),
            batch_of([{"k": 3}], source="floor"),
        ]
    )
    expected = [
        ("lab", "readings", "store", "stored", "", 3),
        ("lab", "readings", "store", "replaced", "", 1),
        ("floor", "readings", "store", "stored", "", 1),
    ]
    assert bench.query("SELECT * FROM ledger") == expected
    assert ledger.told == expected


async def test_the_ledger_counts_what_is_stored_and_not_what_is_rejected_however_it_was_written(
    bench: Any, batch_of: Any, ledger: _Ledger
) -> None:
    sink = await bench.open(table="t", columns={"k": "int"})
    await sink.write([batch_of([{"k": 1}, {"k": 2}]), batch_of([], source="floor")])  # at once
    await sink.write([batch_of([{"k": 3}, {"k": "bad"}]), batch_of([{"k": "bad"}], source="floor")])
    bench.query("CREATE UNIQUE INDEX mine ON t (k)")
    await sink.write([batch_of([{"k": 4}, {"k": 4}, {"k": 1}, {"k": 5}])])  # row by row
    expected = [("lab", "readings", "store", "stored", "", n) for n in (2, 1, 2)]
    assert bench.query("SELECT * FROM ledger") == expected
    assert ledger.told == expected
    assert bench.query("SELECT count(*) FROM t") == [(5,)]


async def test_a_rollback_leaves_neither_rows_nor_ledger(bench: Any, batch_of: Any, ledger: _Ledger) -> None:
    sink = await bench.open(table="t", columns={"k": "int"})
    bench.query("CREATE TRIGGER full BEFORE INSERT ON ledger BEGIN SELECT RAISE(ROLLBACK, 'stop'); END")
    with pytest.raises((SinkError, sqlite3.Error)):
        await sink.write([batch_of([{"k": 1}])])
    assert bench.query("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM ledger)") == [(0, 0)]
    assert ledger.told == []
    bench.query("DROP TRIGGER full")
    await sink.write([batch_of([{"k": 1}])])
    assert bench.query("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM ledger)") == [(1, 1)]


async def test_a_folder_that_is_removed_is_made_anew(
    bench: Any, batch_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "PATIENCE_S", 0.1)
    monkeypatch.setattr(recovery, "LOOK_EVERY_S", 0.05)
    sink = await bench.open(path="sub/data.db", retention={"min_free": "1MiB"})
    shutil.rmtree(bench.folder / "sub")
    refused: list[str] = []
    async with asyncio.timeout(60):
        while True:
            try:
                written = await sink.write([batch_of([{"a": 1}])])
            except SinkError as error:
                refused.append(error.reason)
                await asyncio.sleep(0.01)
            else:
                break
    assert set(refused) == {"moved"}
    assert written.rejected_counts == [0]
    assert bench.query("SELECT count(*) FROM records", "sub/data.db") == [(1,)]


@pytest.mark.parametrize(
    "change", ["DROP TABLE t", "ALTER TABLE t RENAME TO old", "ALTER TABLE t DROP COLUMN b"]
)
@pytest.mark.parametrize("config", [{}, {"unique": ["a"]}], ids=["plain", "unique"])
async def test_a_table_that_another_program_takes_away_is_made_anew(
    bench: Any, batch_of: Any, change: str, config: dict[str, Any]
) -> None:
    sink = await bench.open(table="t", columns={"a": "int", "b": "int"}, **config)
    await sink.write([batch_of([{"a": 1, "b": 1}])])
    bench.query(change)
    with pytest.raises(SinkError, match="schema"):
        await sink.write([batch_of([{"a": 2, "b": 2}])])
    await sink.write([batch_of([{"a": 2, "b": 2}])])
    assert (2, 2) in bench.query("SELECT a, b FROM t")
