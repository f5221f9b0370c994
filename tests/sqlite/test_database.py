import asyncio
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamd.core.errors import EnvironmentFault, SinkError
from streamd.core.sums import Entry
from streamd.sqlite import files
from streamd.sqlite.database import Database

ENTRY = Entry("lab", "readings", "store", "stored", "", 1)


def stored(database: Database) -> list[int]:
    connection = sqlite3.connect(database.path)
    try:
        return [a for (a,) in connection.execute("SELECT a FROM t ORDER BY a")]
    finally:
        connection.close()


class Gate:
    """An SQL function, gate(), in which the connection's thread stays until `open` is set."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    async def install(self, database: Database) -> None:
        await database._live.create_function("gate", 0, self._wait)

    def _wait(self) -> int:
        self.entered.set()
        self.open.wait(30)
        return 1


@pytest.fixture
async def gate(database: Database) -> Gate:
    gate = Gate()
    await gate.install(database)
    return gate


async def test_a_transaction_commits_at_its_end(database: Database) -> None:
    async with database.transaction():
        await database.execute("INSERT INTO t VALUES (1)")
        database.submit("INSERT INTO t VALUES (?), (?)", (2, 3))
        assert stored(database) == []
    assert stored(database) == [1, 2, 3]


async def test_an_error_in_a_transaction_undoes_all_of_it(database: Database) -> None:
    async def write() -> None:
        async with database.transaction():
            await database.execute("INSERT INTO t VALUES (1)")
            _ = 1 // 0

    with pytest.raises(ZeroDivisionError):
        await write()
    assert stored(database) == []
    await database.execute("INSERT INTO t VALUES (2)")
    assert stored(database) == [2]


async def test_the_first_of_the_errors_of_statements_under_way_is_raised_at_commit(
    database: Database,
) -> None:
    async def write() -> None:
        async with database.transaction():
            for a in (1, 2, 1, 3):
                database.submit("INSERT INTO t VALUES (?)", (a,))
            database.submit("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(sqlite3.IntegrityError):
        await write()
    assert stored(database) == []


async def test_statements_behind_a_forced_rollback_do_not_commit_themselves(database: Database) -> None:
    await database.execute(
        "CREATE TRIGGER ends BEFORE INSERT ON t WHEN new.a = 2"
        " BEGIN SELECT RAISE(ROLLBACK, 'as a full disk'); END"
    )

    async def write() -> None:
        async with database.transaction():
            for a in range(5):
                database.submit("INSERT INTO t VALUES (?)", (a,))

    with pytest.raises(sqlite3.IntegrityError, match="as a full disk"):
        await write()
    assert stored(database) == []
    await database.execute("INSERT INTO t VALUES (7)")
    assert stored(database) == [7]


async def test_transactions_of_several_tasks_follow_each_other(database: Database) -> None:
    async def add(first: int) -> None:
        async with database.transaction():
            ((before,),) = await database.fetch("SELECT count(*) FROM t")
            await asyncio.sleep(0)
            await database.execute_many("INSERT INTO t VALUES (?)", [(first + i,) for i in range(10)])
            assert await database.fetch("SELECT count(*) FROM t") == [(before + 10,)]

    await asyncio.gather(*(add(100 * n) for n in range(5)))
    assert len(stored(database)) == 50


async def test_a_query_of_another_task_does_not_see_an_open_transaction(database: Database) -> None:
    async with database.transaction():
        await database.execute("INSERT INTO t VALUES (1)")
        other = asyncio.ensure_future(database.fetch("SELECT a FROM t"))
        await asyncio.sleep(0)
        assert not other.done()
        await database.execute("INSERT INTO t VALUES (2)")
    assert await other == [(1,), (2,)]


async def test_a_transaction_in_a_transaction_is_a_mistake_that_is_told(database: Database) -> None:
    async with database.transaction():
        with pytest.raises(RuntimeError, match="inside"):
            async with database.transaction():
                pass


async def test_a_foreign_writer_is_a_passing_fault(database: Database) -> None:
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SinkError) as fault:
        await database.execute("INSERT INTO t VALUES (1)")
    assert fault.value.reason == "locked"
    other.execute("ROLLBACK")
    other.close()
    await database.execute("INSERT INTO t VALUES (1)")
    assert stored(database) == [1]


@pytest.mark.parametrize("replaced", [False, True])
async def test_nothing_is_written_into_a_file_that_was_taken_away(database: Database, replaced: bool) -> None:
    await database.execute("INSERT INTO t VALUES (1)")
    kept = database.path.rename(database.path.with_name("kept.db"))
    if replaced:
        database.path.touch()
    with pytest.raises(SinkError) as fault:
        await database.execute("INSERT INTO t VALUES (2)")
    assert fault.value.reason == "moved"
    kept.rename(database.path)
    await database.execute("INSERT INTO t VALUES (3)")
    assert stored(database) == [1, 3]


async def test_cancelled_in_a_statement_the_transaction_is_rolled_back(
    database: Database, gate: Gate
) -> None:
    async def write() -> None:
        async with database.transaction():
            await database.execute("INSERT INTO t VALUES (gate())")

    task = asyncio.ensure_future(write())
    await asyncio.to_thread(gate.entered.wait, 30)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stored(database) == []
    await database.execute("INSERT INTO t VALUES (2)")
    assert stored(database) == [2]


class _Ledger:
    """Holds the commit up in `rows`' statement; remembers what was told."""

    def __init__(self, statement: str) -> None:
        self.statement = statement
        self.told: list[Entry] = []

    def rows(self, entries: Sequence[Entry]) -> tuple[str, list[tuple[Any, ...]]]:
        return self.statement, [()] * len(entries)

    def committed(self, entries: Sequence[Entry]) -> None:
        self.told += entries


async def test_cancelled_in_the_commit_the_outcome_comes_before_the_cancellation(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = _Ledger("INSERT INTO t VALUES (9)")
    database.ledger = ledger
    known: list[str] = []
    committing, go_on = asyncio.Event(), threading.Event()
    real = database._live.execute_fetchall

    async def slow_commit() -> Any:
        await asyncio.to_thread(go_on.wait, 30)
        return await real("COMMIT")

    def execute_fetchall(sql: str, parameters: Any = ()) -> Any:
        if sql != "COMMIT":
            return real(sql, parameters)
        committing.set()
        return slow_commit()

    monkeypatch.setattr(database._live, "execute_fetchall", execute_fetchall)

    async def write() -> None:
        async with database.transaction() as entries:
            await database.execute("INSERT INTO t VALUES (1)")
            entries.append(ENTRY)
        known.append("committed")
        await asyncio.Event().wait()
        known.append("never")

    task = asyncio.ensure_future(write())
    await committing.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert known == ["committed"]
    assert ledger.told == [ENTRY]
    assert stored(database) == [1, 9]


async def test_cancelled_while_waiting_for_the_lock_nothing_happens(database: Database) -> None:
    async with database.transaction():
        waiting = asyncio.ensure_future(database.execute("INSERT INTO t VALUES (1)"))
        await asyncio.sleep(0)
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert stored(database) == []


async def test_entries_without_a_ledger_and_a_ledger_without_entries(database: Database) -> None:
    async with database.transaction() as entries:
        entries.append(ENTRY)
    database.ledger = _Ledger("INSERT INTO t VALUES (9)")
    async with database.transaction():
        await database.execute("INSERT INTO t VALUES (1)")
    assert stored(database) == [1]
    assert database.ledger.told == []


async def test_what_a_ledger_writes_is_undone_with_the_rows(database: Database) -> None:
    ledger = _Ledger("INSERT INTO t VALUES (1)")
    database.ledger = ledger

    async def write() -> None:
        async with database.transaction() as entries:
            await database.execute("INSERT INTO t VALUES (5)")
            entries += [ENTRY, ENTRY]

    with pytest.raises(sqlite3.IntegrityError):
        await write()
    assert stored(database) == []
    assert ledger.told == []


@pytest.mark.parametrize(
    ("failpoint", "hangs"),
    [
        ("sqlite.commit:hang:0.01", True),
        ("sqlite.commit@data.db:hang:0.01", True),
        ("sqlite.commit@other.db:hang:0.01", False),
        ("", False),
    ],
)
async def test_the_failpoint_holds_up_the_first_commit_of_data_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failpoint: str, hangs: bool
) -> None:
    slept: list[float] = []
    monkeypatch.setenv("STREAMD_FAILPOINT", failpoint)
    monkeypatch.setattr("streamd.sqlite.database.time.sleep", slept.append)
    database = Database(tmp_path / "data.db")
    await database.open()
    await database.execute("CREATE TABLE t (a)")
    assert slept == []
    for _ in range(2):
        async with database.transaction() as entries:
            entries.append(ENTRY)
    assert slept == ([0.01] if hangs else [])
    await database.close()


async def test_the_file_is_not_for_everybody_and_closing_leaves_no_log(tmp_path: Path) -> None:
    database = Database(tmp_path / "made" / "here" / "data.db", "full")
    await database.open()
    assert await database.fetch("PRAGMA journal_mode") == [("wal",)]
    assert await database.fetch("PRAGMA synchronous") == [(2,)]
    await database.execute("CREATE TABLE t (a)")
    assert database.path.stat().st_mode & 0o137 == 0
    assert files.free_bytes(database.path.parent) > 0
    await database.close()
    await database.close()
    assert [path.name for path in database.path.parent.iterdir()] == ["data.db"]


async def test_a_checkpoint_that_cannot_be_made_does_not_stop_the_close(database: Database) -> None:
    reader = sqlite3.connect(database.path)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM t").fetchall()
    await database.execute("INSERT INTO t VALUES (1)")
    await database.close()
    reader.close()
    assert stored(database) == [1]


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


async def test_a_path_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "data.db", tmp_path):
        with pytest.raises(EnvironmentFault, match="name another path"):
            await Database(path).open()


async def test_a_file_system_without_shared_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Database.fetch

    async def fetch(self: Database, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return await real(self, sql.replace("journal_mode=WAL", "journal_mode=DELETE"), params)

    monkeypatch.setattr(Database, "fetch", fetch)
    with pytest.raises(EnvironmentFault, match="local file system"):
        await Database(tmp_path / "data.db").open()


async def test_a_device_is_no_database() -> None:
    with pytest.raises(EnvironmentFault, match="regular file"):
        await Database(Path("/dev/null")).open()


async def test_statements_written_at_once_are_all_stored_or_none_and_nothing_stays_locked(
    database: Database,
) -> None:
    insert = "INSERT INTO t VALUES (?)"
    await database.write([(insert, (1,)), (insert, (2,))])
    assert stored(database) == [1, 2]
    with pytest.raises(sqlite3.IntegrityError):
        await database.write([(insert, (3,)), (insert, (1,))])
    with closing(sqlite3.connect(database.path, isolation_level=None, timeout=0)) as other:
        other.execute(insert, (4,))
    assert stored(database) == [1, 2, 4]


async def test_a_transaction_that_was_left_open_is_no_part_of_the_next(database: Database) -> None:
    insert = "INSERT INTO t VALUES (?)"
    for a, at_once in ((1, True), (2, False)):
        await database._live.execute_fetchall(
            "INSERT INTO t VALUES (9)"
        )  # as a rollback that failed leaves it
        if at_once:
            await database.write([(insert, (a,))])
        else:
            await database.execute(insert, (a,))
    assert stored(database) == [1, 2]


async def test_a_write_is_on_its_way_to_the_thread_before_the_loop_turns(database: Database) -> None:
    outcome = database._live.write_all([("INSERT INTO t VALUES (?)", (n,)) for n in (1, 2)])
    deadline_s = time.monotonic() + 30
    while stored(database) != [1, 2]:  # nothing is awaited here
        assert time.monotonic() < deadline_s
        time.sleep(0.001)  # noqa: ASYNC251 - the loop must not turn
    assert not outcome.done()
    assert await outcome == []
