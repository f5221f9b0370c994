import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamd.core.errors import SinkError
from streamd.sqlite import files, own_files, recovery
from streamd.sqlite.database import Database
from streamd.sqlite.databases import Databases

TABLE = "CREATE TABLE IF NOT EXISTS t (a INTEGER UNIQUE) STRICT"
INSERT = "INSERT INTO t VALUES (?)"


NEVER_S = 3600.0


@pytest.fixture
def look_every_s(request: pytest.FixtureRequest) -> float:
    return float(getattr(request, "param", 0.05))


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch, look_every_s: float) -> None:
    monkeypatch.setattr(recovery, "PATIENCE_S", 0.2)
    monkeypatch.setattr(recovery, "LOOK_EVERY_S", look_every_s)
    monkeypatch.setattr(own_files, "REST_NS", 50_000_000)


@pytest.fixture
async def used(in_haste: None, database: Database) -> Database:
    """With a user that makes its table where there is none, and a row that is in the log only."""
    del in_haste

    async def prepare() -> None:
        await database.execute(TABLE)

    database.recovery.add_user(prepare)
    await database.execute(INSERT, (1,))
    return database


def elsewhere(path: Path, sql: str) -> str:
    """What another program gets that opens the file for writing, asks once, and closes it."""
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(c.execute(sys.argv[2]).fetchall());"
    )
    program += "c.commit(); c.close()"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), sql], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or done.stderr.splitlines()[-1]


def look(files: list[Path]) -> list[tuple[int, int, int] | None]:
    """What a write, a removal or a replacement of a file changes; None for one that is not there."""
    found: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            its = file.stat()
        except FileNotFoundError:
            found.append(None)
        else:
            found.append((its.st_ino, its.st_size, its.st_mtime_ns))
    return found


def there(path: Path) -> list[int]:
    """The rows in the file as they would be after a kill -9 of this process.

    The copies are of one moment, though a recovery may be writing: they are made again if a file has changed.
    """
    files = [path, Path(f"{path}-wal")]
    while True:
        copies, before = path.parent / f"copy-{time.monotonic_ns()}", look(files)
        copies.mkdir()
        for file in files:  # it may be ours: no plain open in this process
            subprocess.run(["cp", file, copies], check=False, capture_output=True)
        if look(files) == before:
            break
    with closing(sqlite3.connect(copies / path.name)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [a for (a,) in connection.execute("SELECT a FROM t ORDER BY a")]


def reading(path: Path) -> subprocess.Popen[bytes]:
    """Another program with a transaction that reads, until its standard input ends."""
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN');"
    )
    program += "print(c.execute('SELECT count(*) FROM t').fetchone(), flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def insert(database: Database, a: int) -> list[SinkError]:
    """Write a row, again and again as a sink does; what was raised until it was committed."""
    refused: list[SinkError] = []
    async with asyncio.timeout(60):
        while True:
            try:
                await database.execute(INSERT, (a,))
            except SinkError as error:
                refused.append(error)
                await asyncio.sleep(0.01)
            else:
                return refused


def remove(*suffixes: str) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        for suffix in suffixes:
            Path(f"{path}{suffix}").unlink()

    act.__name__ = f"remove{'_'.join(suffixes)}"
    return act


def lose_the_locks(path: Path) -> None:
    path.read_bytes()
    assert elsewhere(path, "SELECT count(*) FROM t") == "[(1,)]"


LOGS_LOST = [remove("-wal"), remove("-shm"), remove("-wal", "-shm"), lose_the_locks]


@pytest.mark.parametrize("look_every_s", [0.05, NEVER_S], indirect=True, ids=["at rest", "by writers"])
@pytest.mark.parametrize("lose", LOGS_LOST, ids=lambda act: act.__name__)
async def test_rows_of_a_log_that_was_removed_come_into_the_file_and_writing_goes_on(
    used: Database, lose: Callable[[Path], None], look_every_s: float
) -> None:
    with capture_logs() as told:
        await asyncio.to_thread(lose, used.path)
        if at_rest := look_every_s < NEVER_S:
            async with asyncio.timeout(60):
                while [event["event"] for event in told][-1:] != ["database_recovered"]:
                    await asyncio.sleep(0.01)
        refused = await insert(used, 2)
    assert [error.reason for error in refused[:1]] == ([] if at_rest else ["log_removed"])
    assert [event["event"] for event in told] == ["database_files_lost", "database_recovered"]
    assert await asyncio.to_thread(there, used.path) == [1, 2]
    assert await asyncio.to_thread(elsewhere, used.path, "SELECT count(*) FROM t") == "[(2,)]"
    await insert(used, 3)
    assert await asyncio.to_thread(there, used.path) == [1, 2, 3]


@pytest.mark.parametrize("lose", LOGS_LOST, ids=lambda act: act.__name__)
async def test_a_commit_is_told_only_when_its_rows_are_in_the_file_that_is_there(
    used: Database, lose: Callable[[Path], None]
) -> None:
    with capture_logs() as told:
        async with used.transaction():
            await used.execute(INSERT, (2,))
            await asyncio.to_thread(lose, used.path)
        assert [event["event"] for event in told] == ["database_files_lost"]
        assert await asyncio.to_thread(there, used.path) == [1, 2]
        await insert(used, 3)
    assert await asyncio.to_thread(there, used.path) == [1, 2, 3]


async def test_a_commit_into_a_file_that_was_removed_is_none(used: Database) -> None:
    async def write() -> None:
        async with used.transaction():
            await used.execute(INSERT, (2,))
            remove("", "-wal", "-shm")(used.path)

    with pytest.raises(SinkError, match="moved"):
        await write()
    await insert(used, 2)
    assert await asyncio.to_thread(there, used.path) == [2]


async def test_a_commit_into_a_file_that_comes_back_is_told_and_written_once(
    used: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "PATIENCE_S", 60.0)
    away = used.path.with_name("away.db")
    with capture_logs() as told:
        async with used.transaction():
            await used.execute(INSERT, (2,))
            used.path.rename(away)
            asyncio.get_running_loop().call_later(0.2, away.rename, used.path)
        assert [event["event"] for event in told][:1] == ["database_files_lost"]
    await insert(used, 3)
    assert await asyncio.to_thread(there, used.path) == [1, 2, 3]


async def test_a_commit_that_a_reader_keeps_in_a_removed_log_is_told_when_the_reader_ends(
    used: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "PATIENCE_S", 60.0)
    with reading(used.path) as reader:
        assert reader.stdout is not None
        assert await asyncio.to_thread(reader.stdout.readline) == b"(1,)\n"
        async with used.transaction():
            await used.execute(INSERT, (2,))
            remove("-wal")(used.path)
            ending = asyncio.create_task(asyncio.to_thread(reader.communicate))
        await ending
    await insert(used, 3)
    assert await asyncio.to_thread(there, used.path) == [1, 2, 3]


async def test_a_file_that_was_moved_away_is_whole_without_our_log_and_a_new_one_is_made(
    used: Database,
) -> None:
    away = used.path.rename(used.path.with_name("away.db"))
    assert [error.reason for error in await insert(used, 2)][:1] == ["moved"]
    assert await asyncio.to_thread(there, used.path) == [2]
    assert await asyncio.to_thread(there, away) == [1]


async def test_no_new_file_is_made_where_nobody_writes(used: Database, stays: Any) -> None:
    used.path.rename(used.path.with_name("away.db"))
    await stays(lambda: not used.path.exists(), recovery.PATIENCE_S + 4 * recovery.LOOK_EVERY_S)
    assert used.recovery.trouble is not None


async def test_a_file_that_comes_back_in_time_is_gone_on_with(
    used: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "PATIENCE_S", 60.0)
    away = used.path.rename(used.path.with_name("away.db"))
    with pytest.raises(SinkError, match="moved"):
        await used.execute(INSERT, (2,))
    away.rename(used.path)
    await insert(used, 3)
    assert await asyncio.to_thread(there, used.path) == [1, 3]


async def test_another_file_in_its_place_is_opened_and_its_log_is_not_deleted(used: Database) -> None:
    other = used.path.with_name("other.db")
    with closing(sqlite3.connect(other, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(TABLE)
        connection.execute(INSERT, (7,))
        for suffix in ("", "-wal", "-shm"):
            os.rename(f"{other}{suffix}", f"{used.path}{suffix}")  # noqa: PTH104 - two names made of texts
        await insert(used, 2)
        assert await asyncio.to_thread(there, used.path) == [2, 7]
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)


LOGS_REMOVED = [remove("-wal"), remove("-shm"), remove("-wal", "-shm")]


@pytest.mark.parametrize("within", [False, True], ids=["between commits", "in a transaction"])
@pytest.mark.parametrize("lose", LOGS_REMOVED, ids=lambda act: act.__name__)
async def test_a_reader_that_stays_in_the_old_log_spoils_nothing_even_if_it_ends_after_us(
    used: Database, lose: Callable[[Path], None], within: bool
) -> None:
    """SQLite lets the last that closes a database bring its log into the file, here over the rows 3 and 4."""
    with reading(used.path) as reader, capture_logs() as told:
        assert reader.stdout is not None
        assert await asyncio.to_thread(reader.stdout.readline) == b"(1,)\n"
        await used.execute(INSERT, (2,))
        if within:
            async with used.transaction():
                await used.execute(INSERT, (3,))
                lose(used.path)
        else:
            lose(used.path)
            await insert(used, 3)
        await insert(used, 4)
        assert await asyncio.to_thread(there, used.path) == [1, 2, 3, 4]
        await used.close()
        await asyncio.to_thread(reader.communicate)
    assert await asyncio.to_thread(there, used.path) == [1, 2, 3, 4]
    assert [event["event"] for event in told if event["log_level"] in {"warning", "error"}] == [
        "database_files_lost",
        "database_log_given_back",
        "database_recovered",
    ]


@pytest.mark.parametrize("at_close", [False, True])
async def test_without_room_for_a_copy_of_the_log_the_reader_is_waited_for_or_brings_the_rows(
    used: Database, monkeypatch: pytest.MonkeyPatch, at_close: bool
) -> None:
    """The file is not whole without its log, of which SQLite has brought some pages into it."""
    tried = asyncio.Event()

    def no_room(_: object) -> bool:
        loop.call_soon_threadsafe(tried.set)
        return False

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(own_files.OwnFiles, "give_log_back", no_room)
    with reading(used.path) as reader, capture_logs() as told:
        assert reader.stdout is not None
        assert await asyncio.to_thread(reader.stdout.readline) == b"(1,)\n"
        await used.execute(INSERT, (2,))
        remove("-wal")(used.path)
        inserting = asyncio.create_task(insert(used, 3))
        async with asyncio.timeout(60):
            await tried.wait()
        if at_close:
            inserting.cancel()
            await asyncio.wait((inserting,))
            await used.close()
        await asyncio.to_thread(reader.communicate)
    if not at_close:
        await inserting
    assert await asyncio.to_thread(there, used.path) == ([1, 2] if at_close else [1, 2, 3])
    assert ("database_split" in [event["event"] for event in told]) == at_close


@pytest.mark.parametrize("closes_as_last", [False, True])
@pytest.mark.parametrize("look_every_s", [NEVER_S], indirect=True)
async def test_what_another_program_wrote_meanwhile_is_kept_and_ours_is_beside_it_in_a_copy(
    used: Database, closes_as_last: bool
) -> None:
    await used.write_ahead_log.checkpoint_now()
    await used.execute(INSERT, (2,))
    if closes_as_last:
        await asyncio.to_thread(used.path.read_bytes)
    remove("-wal", "-shm")(used.path)
    assert await asyncio.to_thread(elsewhere, used.path, "INSERT INTO t VALUES (8)") == "[]"
    assert (files.identity(Path(f"{used.path}-wal")) == files.NO_FILE) == closes_as_last
    with capture_logs() as told:
        await insert(used, 3)
    (split,) = [event for event in told if event["event"] == "database_split"]
    assert await asyncio.to_thread(there, used.path) == [1, 3, 8]
    assert await asyncio.to_thread(there, Path(split["copy"])) == [1, 2]


@pytest.mark.parametrize("look_every_s", [NEVER_S], indirect=True)
@pytest.mark.parametrize("lose", [*LOGS_LOST, remove("", "-wal", "-shm")], ids=lambda act: act.__name__)
async def test_a_close_saves_what_only_the_log_holds(used: Database, lose: Callable[[Path], None]) -> None:
    await asyncio.to_thread(lose, used.path)
    await used.close()
    if used.path.exists():
        assert await asyncio.to_thread(there, used.path) == [1]


async def test_trouble_is_told_while_it_lasts_and_for_a_while_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases = Databases()
    database = await databases.acquire(tmp_path / "data.db")
    await database.execute(TABLE)
    assert databases.troubles() == []
    remove("-wal")(database.path)
    await insert(database, 1)
    assert databases.troubles() == [f"{database.path}-wal was removed while in use"]
    await databases.release(database)
    assert databases.troubles() == [f"{database.path}-wal was removed while in use"]
    monkeypatch.setattr(recovery, "TOLD_S", 0.0)
    assert databases.troubles() == []


def put_back(path: Path) -> None:
    backup = path.with_name("backup")
    subprocess.run(["cp", backup, path], check=True)


def empty(suffix: str) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        os.truncate(f"{path}{suffix}", 0)

    act.__name__ = f"empty{suffix}"
    return act


def scribble_in_the_log(path: Path) -> None:
    log = Path(f"{path}-wal")
    subprocess.run(
        ["dd", "if=/dev/zero", f"of={log}", "bs=64", "count=1", "conv=notrunc", "status=none"], check=True
    )


@pytest.mark.parametrize("look_every_s", [0.05, NEVER_S], indirect=True, ids=["at rest", "by writers"])
@pytest.mark.parametrize(
    ("overwrite", "kept"),
    [(put_back, [0]), (empty(""), []), (empty("-wal"), [0, 1]), (scribble_in_the_log, [0, 1])],
    ids=lambda act: getattr(act, "__name__", None),
)
async def test_a_file_written_over_in_its_place_is_noticed_and_opened_as_it_is(
    used: Database, look_every_s: float, overwrite: Callable[[Path], None], kept: list[int]
) -> None:
    await used.execute(INSERT, (0,))
    await used.write_ahead_log.checkpoint_now()
    subprocess.run(["cp", used.path, used.path.with_name("backup")], check=True)  # noqa: ASYNC221 - short
    if overwrite is put_back:
        await used.execute("DELETE FROM t WHERE a = 1")
        subprocess.run(["cp", used.path, used.path.with_name("backup")], check=True)  # noqa: ASYNC221
        await used.execute("CREATE TABLE more (b)")
        await used.write_ahead_log.checkpoint_now()
        kept = [0, 1]
    await used.execute(INSERT, (2,))
    with capture_logs() as told:
        await asyncio.to_thread(overwrite, used.path)
        if look_every_s < NEVER_S:
            async with asyncio.timeout(60):
                while [event["event"] for event in told][-1:] != ["database_recovered"]:
                    await asyncio.sleep(0.01)
            await insert(used, 3)
        else:
            assert [error.reason for error in await insert(used, 3)][:1] == ["overwritten"]
    assert [event["event"] for event in told] == [
        "database_files_lost", "database_overwritten", "database_recovered",
    ]  # fmt: skip
    assert await asyncio.to_thread(there, used.path) == [*kept, 3]


async def test_a_commit_into_a_log_that_was_emptied_meanwhile_is_none(used: Database) -> None:
    async def write() -> None:
        async with used.transaction():
            await used.execute(INSERT, (2,))
            empty("-wal")(used.path)

    with pytest.raises(SinkError, match="overwritten"):
        await write()
    await insert(used, 2)
    assert 2 in await asyncio.to_thread(there, used.path)


async def test_a_log_that_is_written_over_is_not_brought_into_the_file_by_a_close(used: Database) -> None:
    await used.write_ahead_log.checkpoint_now()
    before = used.path.stat().st_size
    await used.execute("CREATE TABLE more (b)")
    empty("")(used.path)
    await used.close()
    assert before > 0 == used.path.stat().st_size
    assert [path.name for path in used.path.parent.glob("*.overwritten-*-wal")]


async def test_what_sqlite_itself_does_to_its_files_is_no_fault(used: Database) -> None:
    """Programs that write, vacuum, restore through SQLite, bring the log into the file, and `touch` it."""
    path = used.path
    acts = [
        "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA wal_checkpoint(RESTART)",
        "DELETE FROM t WHERE a % 3 = 0", "PRAGMA wal_checkpoint(PASSIVE)",
        "CREATE TABLE IF NOT EXISTS more (b)", "VACUUM",
    ]  # fmt: skip

    def beside() -> None:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            for act in acts * 3:
                try:
                    connection.execute(act).fetchall()
                except sqlite3.OperationalError as error:
                    assert "locked" in str(error)  # noqa: PT017 - another writer came first
                os.utime(path)

    with capture_logs() as told:
        other = asyncio.create_task(asyncio.to_thread(beside))
        a = 2
        while not other.done() or a < 100:
            await insert(used, a)
            if a % 10 == 0:
                await used.write_ahead_log.checkpoint_now()
            a += 1
        await other
    assert told == []
    assert a - 1 in await asyncio.to_thread(there, path)


async def test_a_link_that_leads_to_another_file_is_followed(used: Database) -> None:
    other = used.path.with_name("other.db")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute(TABLE)
    link = used.path.with_name("link")
    link.symlink_to(other)
    link.replace(used.path)
    assert [error.reason for error in await insert(used, 2)][:1] == ["moved"]
    assert await asyncio.to_thread(there, other) == [2]
    assert await asyncio.to_thread(elsewhere, other, "SELECT count(*) FROM t") == "[(1,)]"
