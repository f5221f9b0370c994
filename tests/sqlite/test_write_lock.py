"""Several processes write to one file in turn, and a killed one lets the next go on."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from streamd.core.errors import EnvironmentFault
from streamd.sqlite.database import Database
from streamd.sqlite.write_lock import WriteLock
from tests.e2e.conftest import until

_HOLDS = """
import sys
from pathlib import Path
from streamd.sqlite.write_lock import WriteLock
lock = WriteLock(Path(sys.argv[1]))
lock.open()
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def opened(database: Path) -> WriteLock:
    lock = WriteLock(database)
    lock.open()
    return lock


def waiting(lock: WriteLock) -> threading.Thread:
    """A thread that waits for the lock."""
    thread = threading.Thread(target=lock.acquire, daemon=True)
    thread.start()
    return thread


def test_a_second_lock_waits_for_the_release(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "a.db"), opened(tmp_path / "a.db")
    first.acquire()
    thread = waiting(second)
    assert first.holder() == os.getpid()
    assert not second.held
    first.release()
    until(lambda: second.held, "the second lock")
    thread.join()
    second.close()
    first.close()


def test_who_waits_comes_before_who_has_just_written(tmp_path: Path) -> None:
    """Without turns the process that releases the lock could take it again at once, for ever."""
    first, second = opened(tmp_path / "a.db"), opened(tmp_path / "a.db")
    order = []
    first.acquire()

    def write_once() -> None:
        second.acquire()
        order.append("second")
        second.release()

    thread = threading.Thread(target=write_once)
    thread.start()
    other = opened(tmp_path / "a.db")
    until(lambda: not _has_turn(other), "the second lock in its turn")
    first.release()
    first.acquire()
    order.append("first")
    first.release()
    thread.join()
    assert order == ["second", "first"]


def _has_turn(lock: WriteLock) -> bool:
    """Whether nobody waits for the lock."""
    import fcntl  # noqa: PLC0415
    import struct  # noqa: PLC0415

    assert lock._fd is not None
    asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    answer = fcntl.fcntl(lock._fd, fcntl.F_OFD_GETLK, asked)
    return bool(struct.unpack("hhqqi4x", answer)[0] == fcntl.F_UNLCK)


def test_a_killed_holder_releases_the_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(tmp_path / "a.db")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        mine = opened(tmp_path / "a.db")
        assert mine.holder() == holder.pid
        thread = waiting(mine)
        holder.send_signal(signal.SIGKILL)
        until(lambda: mine.held, "the lock of the killed process")
        thread.join()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        holder.stdin.close()


def test_a_released_lock_may_be_released_again(tmp_path: Path) -> None:
    lock = opened(tmp_path / "a.db")
    lock.release()
    with lock:
        assert lock.held
    assert not lock.held
    lock.close()
    lock.close()


def test_a_lock_file_that_cannot_be_made_is_a_fault_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"missing/a\.db-lock"):
        WriteLock(tmp_path / "missing" / "a.db").open()


async def test_transactions_and_writes_of_two_databases_take_turns(tmp_path: Path) -> None:
    """While one is inside a transaction, the other waits instead of failing as locked."""
    path = tmp_path / "a.db"
    one, other = (Database(path, write_lock=WriteLock(path)) for _ in range(2))
    await one.open()
    await other.open()
    await one.execute("CREATE TABLE t (n INTEGER)")
    async with one.transaction():
        await one.execute("INSERT INTO t VALUES (1)")
        written = asyncio.create_task(other.write([("INSERT INTO t VALUES (?)", (2,))]))
        inside = asyncio.create_task(other.execute("INSERT INTO t VALUES (3)"))
        done, _ = await asyncio.wait({written, inside}, timeout=1.5)  # longer than SQLite's busy timeout
        assert not done
    await written
    await inside
    await one.close()
    await other.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT n FROM t ORDER BY n").fetchall() == [(1,), (2,), (3,)]
    connection.close()


async def test_a_cancelled_wait_leaves_the_lock_free(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    one, other = (Database(path, write_lock=WriteLock(path)) for _ in range(2))
    await one.open()
    await other.open()
    await one.execute("CREATE TABLE t (n INTEGER)")
    async with one.transaction():
        waits = asyncio.create_task(other.execute("INSERT INTO t VALUES (1)"))
        await asyncio.sleep(0)
        waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    await one.execute("INSERT INTO t VALUES (2)")
    await other.execute("INSERT INTO t VALUES (3)")
    assert await one.fetch("SELECT n FROM t ORDER BY n") == [(2,), (3,)]
    await one.close()
    await other.close()


def test_the_fate_of_a_log_is_known_to_those_that_had_opened_it(tmp_path: Path) -> None:
    """The inode of a deleted log is used again, so a note holds only for a log that was opened before it."""
    one, other = WriteLock(tmp_path / "data.db"), WriteLock(tmp_path / "data.db")
    one.open()
    other.open()
    opened = other.changes()
    assert other.fate_of((8, 7), opened) is None
    with one:
        one.note_written(5)
        one.note_change((8, 7), in_file=True)
    assert other.changes() != opened
    assert other.written_ns() == 5
    assert other.fate_of((8, 7), opened) is True
    assert other.fate_of((8, 6), opened) is None
    assert other.fate_of((8, 7), other.changes()) is None, "this one is newer"
    with one:
        one.note_change((8, 6))
    assert other.fate_of((8, 6), opened) is False, "its rows are in a copy"
    with one:
        one.note_change()
    assert other.fate_of((8, 6), opened) is None, "another process has written past its log"
    one.close()
    other.close()


def test_a_turn_begins_with_a_look_at_what_may_have_changed_meanwhile(tmp_path: Path) -> None:
    lock = WriteLock(tmp_path / "data.db")
    lock.open()

    def changed() -> None:
        assert lock.held
        raise ValueError

    with pytest.raises(ValueError), lock.turn(changed):  # noqa: PT011 - its own
        pytest.fail("it has begun")
    assert not lock.held
    lock.close()
