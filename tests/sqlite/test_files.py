import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from streamd.core.errors import EnvironmentFault
from streamd.sqlite import files, read_only
from streamd.sqlite.database import Database


def make(path: Path, rows: int = 20_000) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (a INTEGER, b TEXT) STRICT")
    connection.executemany("INSERT INTO t VALUES (?, ?)", ((i, "x" * 50) for i in range(rows)))
    connection.commit()
    connection.close()


def garbage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"this is no database at all, but a text")


def garbage_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 20)
        file.write(bytes(range(256)) * 16)


def garbage_schema_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)


def truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(4096 * 30 + 17)


def a_text(path: Path) -> None:
    path.write_text("hello\n" * 1000)


def contents(folder: Path, pattern: str) -> list[bytes]:
    return [file.read_bytes() for file in folder.glob(pattern)]


DAMAGES = [garbage_header, garbage_page, garbage_schema_page, truncated, a_text]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("with_log", [False, True])
async def test_a_corrupt_file_is_set_aside_whole_and_a_fresh_one_made(
    tmp_path: Path, damage: Callable[[Path], None], with_log: bool
) -> None:
    path = tmp_path / "data.db"
    make(path)
    damage(path)
    before = {path.name: path.read_bytes()}
    if with_log:
        log = tmp_path / "data.db-wal"
        log.write_bytes(b"what was committed last")
        before[log.name] = log.read_bytes()
    database = Database(path)
    with structlog.testing.capture_logs() as logs:
        await database.open()
    await database.execute("CREATE TABLE fresh (a)")
    assert [(log["event"], log["log_level"]) for log in logs] == [("database_set_aside", "error")]
    assert database.set_aside is not None
    assert database.set_aside.name.startswith("data.db.corrupt-2")
    for name, content in before.items():
        kept = database.set_aside.with_name(database.set_aside.name + name.removeprefix("data.db"))
        assert kept.read_bytes() == content
    await database.close()
    assert files.fault_of(path) is None


async def test_a_sound_file_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    for _ in range(2):
        database = Database(path)
        await database.open()
        await database.execute("CREATE TABLE IF NOT EXISTS t (a)")
        await database.execute("INSERT INTO t VALUES (1)")
        assert database.set_aside is None
        await database.close()
    assert sqlite3.connect(path).execute("SELECT count(*) FROM t").fetchone() == (2,)


async def test_rows_that_stand_in_the_log_only_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    make(path, rows=1)
    writer = sqlite3.connect(path)
    writer.execute("INSERT INTO t VALUES (2, 'in the log')")
    writer.commit()
    copies = tmp_path / "crashed"
    copies.mkdir()
    for name in ("data.db", "data.db-wal"):
        (copies / name).write_bytes((tmp_path / name).read_bytes())
    writer.close()
    database = Database(copies / "data.db")
    await database.open()
    assert await database.fetch("SELECT a FROM t") == [(0,), (2,)]
    assert database.set_aside is None
    await database.close()


@pytest.mark.parametrize("empty", [False, True])
async def test_a_log_without_its_database_is_set_aside_and_not_deleted(tmp_path: Path, empty: bool) -> None:
    log = tmp_path / "data.db-wal"
    log.write_bytes(b"orphan")
    if empty:
        (tmp_path / "data.db").touch()
    database = Database(tmp_path / "data.db")
    await database.open()
    assert database.set_aside is not None
    await database.close()
    assert contents(tmp_path, "*.corrupt-*-wal") == [b"orphan"]


def test_setting_aside_never_overwrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        @staticmethod
        def now(zone: object) -> "Clock":
            del zone
            return Clock()

        def __format__(self, spec: str) -> str:
            return "always-the-same"

    monkeypatch.setattr(files, "datetime", Clock)
    path = tmp_path / "data.db"
    kept = []
    for n in range(3):
        path.write_text(str(n))
        kept.append(files.set_aside(path))
    assert [file.read_text() for file in kept] == ["0", "1", "2"]


def test_a_file_that_cannot_be_moved_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.db"
    path.touch()

    def refuse(self: Path, target: object) -> None:
        raise PermissionError(13, "Permission denied", str(self), None, str(target))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(EnvironmentFault, match="by hand"):
        files.set_aside(path)


def test_a_locked_file_is_not_taken_for_a_corrupt_one(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    make(path, rows=10)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    assert files.fault_of(path) is None
    other.close()


def test_a_folder_is_left_to_the_one_who_opens_it(tmp_path: Path) -> None:
    assert files.fault_of(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "empty"), (b"SQLite format 2\0", "does not begin"), (b"SQLite", "does not begin"),
     (b"SQLite format 3\0", "does not begin"), (b"a text " * 100, "does not begin")],
)  # fmt: skip
def test_a_database_is_known_by_its_first_bytes(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(content)
    found = files.foreign(path)
    assert why in (found or "")


def test_what_is_no_file_or_not_there_is_told_apart(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("link")
    assert files.foreign(tmp_path) == files.foreign(tmp_path / "pipe") == "it is no regular file"
    assert files.foreign(tmp_path / "link") == "it is a link that leads nowhere"
    assert files.foreign(tmp_path / "gone") is None


@pytest.mark.parametrize("reclaim", [False, True])
async def test_a_database_begins_like_one_as_soon_as_it_is_open(tmp_path: Path, reclaim: bool) -> None:
    database = Database(tmp_path / "a.db", reclaim=reclaim)
    await database.open()
    assert files.foreign(database.path) is None
    await database.close()


def locks(path: Path) -> list[str]:
    """The POSIX locks this process has on the file, as kind and range."""
    inode = f":{path.stat().st_ino}"
    found = Path("/proc/locks").read_text().splitlines()
    lines = (line.split() for line in found if " -> " not in line)  # which only waits
    return sorted(
        f"{kind} {begin}-{end}"
        for _, what, _, kind, pid, where, begin, end in lines
        if what == "POSIX" and pid == str(os.getpid()) and where.endswith(inode)
    )


@pytest.mark.parametrize("name", ["data.db", "link.db", "hard.db", "./sub/../data.db"])
@pytest.mark.parametrize(
    "look",
    [files.foreign, files.fault_of, files.prepare, files.identity, read_only.is_there],
    ids=lambda look: look.__name__,
)
async def test_no_look_at_a_file_gives_up_the_locks_by_which_it_is_kept(
    database: Database, look: Callable[[Path], object], name: str
) -> None:
    folder = database.path.parent
    (folder / "sub").mkdir()
    (folder / "link.db").symlink_to(database.path)
    (folder / "hard.db").hardlink_to(database.path)
    before = locks(database.path), locks(folder / "data.db-shm")
    assert all(before)
    look(folder / name)
    assert (locks(database.path), locks(folder / "data.db-shm")) == before


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
async def test_the_test_sees_a_lock_that_is_given_up(database: Database, suffix: str) -> None:
    path = Path(f"{database.path}{suffix}")
    had = locks(path)
    await asyncio.to_thread(path.read_bytes)
    assert bool(had) == (suffix != "-wal")
    assert locks(path) == []
