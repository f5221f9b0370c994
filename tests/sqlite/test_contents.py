"""Commits and checkpoints of another process are not taken for files that were overwritten."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamd.sqlite.contents import Contents

Stats = tuple[os.stat_result, os.stat_result]


class World:
    """A database that is open here, and a second connection that stands for another process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.own, self.other = (sqlite3.connect(path, isolation_level=None) for _ in range(2))
        for connection in (self.own, self.other):
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA wal_autocheckpoint=0")
        self.own.execute("CREATE TABLE t (text)")
        identities = [self._identity(Path(f"{path}{suffix}")) for suffix in ("", "-wal", "-shm")]
        self.contents = Contents(*identities)

    @staticmethod
    def _identity(path: Path) -> tuple[int, int]:
        found = path.stat()
        return found.st_dev, found.st_ino

    def begun(self) -> Stats:
        """The first half of a check."""
        self.contents.begin()
        return self.path.stat(), Path(f"{self.path}-wal").stat()

    def check(self) -> str | None:
        """A whole check."""
        return self.contents.overwritten(*self.begun())

    def commit(self) -> None:
        """The other process adds pages to the log."""
        self.other.execute("INSERT INTO t VALUES (?)", ("x" * 20_000,))

    def checkpoint(self) -> None:
        """The other process writes the pages of the log to the database file."""
        assert self.other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[0] == 0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "a.db")
    yield made
    made.own.close()
    made.other.close()


def test_a_commit_between_the_looks_at_the_log_and_at_its_index_is_no_fault(world: World) -> None:
    assert world.check() is None
    stats = world.begun()
    world.commit()
    assert world.contents.overwritten(*stats) is None


def test_a_checkpoint_during_a_check_is_known_to_the_next_check(world: World) -> None:
    world.commit()
    assert world.check() is None
    stats = world.begun()
    world.checkpoint()
    assert world.contents.overwritten(*stats) is None
    assert world.check() is None
    assert world.check() is None


def test_a_log_that_was_cut_off_is_still_a_fault(world: World) -> None:
    world.commit()
    assert world.check() is None
    os.truncate(f"{world.path}-wal", 1000)
    assert world.check() == "log"


def test_a_database_that_was_written_over_is_still_a_fault(world: World) -> None:
    world.commit()
    world.checkpoint()
    assert world.check() is None
    data = bytearray(world.path.read_bytes())
    with world.path.open("r+b") as file:
        data[24:28] = b"\x7f\x7f\x7f\x7f"  # the change counter in the header
        file.write(data)
    os.utime(world.path, ns=(1, 1))
    assert world.check() == "database"
