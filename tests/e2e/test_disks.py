"""Disks in trouble: full, limited, and with files on them that are no databases."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

MIB = 2**20

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[daemon]
state_dir = "STATE_DIR"
drain_timeout = "60s"
[ledger]
interval = "0.5s"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
[pipelines.main]
sources = ["floor"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "data.db"
batch = { max_records = 500, max_wait = "50ms" }
retention = { min_free = "MIN_FREE" }
"""


def left_of(event: dict[str, Any]) -> list[int]:
    """The numbers a `drain_timeout` names."""
    return [event[f"{unit}_left"] for unit in ("frames", "records", "deliveries")]


def configured(state_dir: str = "var", min_free: str = "1MiB") -> str:
    return CONFIG.replace("STATE_DIR", state_dir).replace("MIN_FREE", min_free)


def lines(count: int, start: int = 0) -> bytes:
    return b"".join(b'{"seq":%d,"fill":"%s"}\n' % (seq, b"x" * 400) for seq in range(start, start + count))


class Disk:
    """A small file system of its own, seen by the daemon and, from outside, by way of /proc."""

    def __init__(self, mounted_at: Path, size_bytes: int) -> None:
        mounted_at.mkdir()
        self.mounted_at = mounted_at
        mount = f"mount -t tmpfs -o size={size_bytes} none '{mounted_at}' && echo mounted && exec cat"
        self._holder = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", mount], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"mounted\n"
        inside = f'cd "{mounted_at.parent}" && exec "$@"'
        self.prefix = ("nsenter", "-t", str(self._holder.pid), "-m", "sh", "-c", inside, "sh")
        self.path = Path(f"/proc/{self._holder.pid}/root{mounted_at}")
        self._ballast = self.path / "ballast"

    @property
    def free_bytes(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave_bytes: int) -> None:
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.free_bytes - leave_bytes)

    def make_room(self) -> None:
        self._ballast.unlink()

    def copy_to(self, folder: Path) -> None:
        shutil.copytree(self.path, folder)

    def close(self) -> None:
        self._holder.communicate(timeout=30)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0 or shutil.which("nsenter") is None:
        pytest.skip("a mount needs root, unshare and nsenter")
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system allows no mount namespaces")
    made = Disk(tmp_path / "disk", 64 * MIB)
    yield made
    made.close()


@contextlib.contextmanager
def sending(daemon: Any, data: bytes) -> Iterator[None]:
    """Send meanwhile; at the end the daemon has read everything."""
    failed: list[BaseException] = []

    def send() -> None:
        try:
            daemon.tcp(data)
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            failed.append(error)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    yield
    thread.join(60)
    assert not failed
    assert not thread.is_alive()


def retried_for(daemon: Any) -> set[str]:
    return {event["reason"] for event in daemon.events("sink_retrying")}


def readiness(daemon: Any) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(daemon.admin() + "/readyz", timeout=30) as answer:  # noqa: S310 - ours
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def stored(daemon: Any, db: str = "data.db") -> list[int]:
    rows = daemon.query("SELECT record ->> 'seq' FROM records ORDER BY id", db)
    return [seq for (seq,) in rows]


def assert_sound(daemon: Any) -> None:
    """Every database is whole, and no fault came as a traceback."""
    for db in ("streamd.db", "data.db", "dead-letters.db"):
        assert daemon.query("PRAGMA integrity_check", db) == [("ok",)], db
    assert "Traceback" not in daemon.stderr


def finish(daemon: Any, disk: Disk) -> None:
    """Stop it while its file system is there, then read its books from a copy."""
    daemon.process.terminate()
    code = daemon.process.wait(60)
    assert code == 0, (code, daemon.stderr[-4000:])
    disk.copy_to(daemon.folder / "var")
    daemon.assert_balanced()


def test_a_sink_stops_before_the_disk_is_full_and_goes_on_by_itself(
    start: Any, disk: Disk, wait_until: Callable[..., Any]
) -> None:
    daemon = start(configured(str(disk.mounted_at), min_free="16MiB"), *disk.prefix)
    disk.fill(leave_bytes=15 * MIB)
    with sending(daemon, lines(20000)):
        wait_until(lambda: retried_for(daemon) == {"min_free"}, "the sink to stop")
        wait_until(lambda: readiness(daemon)[0] == 503, "readiness to say so")
        code, why = readiness(daemon)
        assert code == 503
        assert "records" in why
        assert "min_free" in why
        assert disk.free_bytes > 12 * MIB
        disk.make_room()
    wait_until(lambda: daemon.events("sink_recovered"), "the sink to go on")
    wait_until(lambda: readiness(daemon)[0] == 200, "readiness to return")
    finish(daemon, disk)
    assert stored(daemon) == list(range(20000))
    assert retried_for(daemon) == {"min_free"}
    assert_sound(daemon)


def test_a_disk_that_is_really_full_is_tried_again_until_there_is_room(
    start: Any, disk: Disk, wait_until: Callable[..., Any]
) -> None:
    daemon = start(configured(str(disk.mounted_at), min_free="0B"), *disk.prefix)
    disk.fill(leave_bytes=4 * MIB)
    with sending(daemon, lines(20000)):
        wait_until(lambda: "disk_full" in retried_for(daemon), "the disk to be full")
        disk.make_room()
    wait_until(lambda: daemon.events("sink_recovered"), "the sink to go on")
    finish(daemon, disk)
    assert stored(daemon) == list(range(20000))
    assert retried_for(daemon) <= {"disk_full", "io"}
    assert_sound(daemon)


def test_a_file_size_limit_costs_exactly_what_is_named_at_the_end(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    config = configured().replace('"60s"', '"1s"')
    daemon = start(config, "prlimit", f"--fsize={2 * MIB}")
    daemon.tcp(lines(10000))
    wait_until(lambda: "io" in retried_for(daemon), "the limit to be met")
    daemon.stop(expect=1)
    there = stored(daemon)
    assert there == list(range(len(there)))
    books = daemon.books()
    assert books["floor", "main", "records", "stored"] == len(there)
    lost = 10000 - len(there)
    assert 0 < lost < 10000
    assert daemon.reasons("dropped", "floor") == {"shutdown": lost}
    assert [sum(left_of(event)) for event in daemon.events("drain_timeout")] == [lost]
    assert retried_for(daemon) == {"io"}
    assert_sound(daemon)


def a_database(path: Path, rows: int = 2000) -> None:
    """A sound one, large enough that half of it is missing when it is cut."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, fill TEXT)")
        connection.executemany("INSERT INTO records (fill) VALUES (?)", [("x" * 200,)] * rows)


@pytest.mark.parametrize("db", ["data.db", "streamd.db", "dead-letters.db"])
@pytest.mark.parametrize("fault", ["garbage", "garbage and log", "truncated"])
def test_a_corrupt_database_is_set_aside_whole_and_a_fresh_one_works(
    fault: str, db: str, start: Any, tmp_path: Path
) -> None:
    path = tmp_path / "var" / db
    path.parent.mkdir()
    if fault == "truncated":
        a_database(path)
        path.write_bytes(path.read_bytes()[:100_000])
    else:
        path.write_bytes(b"this is not a database. " * 5000)
    before = {"": path.read_bytes()}
    if fault == "garbage and log":
        before["-wal"] = b"nor is this a log " * 500
        Path(f"{path}-wal").write_bytes(before["-wal"])
    daemon = start(configured())
    daemon.tcp(lines(100))
    daemon.wait_rows(100, db="data.db")
    daemon.stop()
    (event,) = daemon.events("database_set_aside")
    assert event["level"] == "error"
    assert Path(event["path"]) == path
    kept = Path(event["moved_to"])
    for suffix, content in before.items():
        assert Path(f"{kept}{suffix}").read_bytes() == content
    assert stored(daemon) == list(range(100))
    assert_sound(daemon)


def nothing_but_one_line(daemon: Any, code: int = 1) -> str:
    """What a daemon that could not start says: one line of its own, beside the log's."""
    assert daemon.process.wait(60) == code, daemon.stderr
    assert "Traceback" not in daemon.stderr
    (said,) = [line for line in daemon.stderr.splitlines() if not line.startswith("{")]
    assert said.startswith("streamd: ")
    return str(said)


def test_a_database_of_somebody_else_is_left_alone(start: Any, tmp_path: Path) -> None:
    path = tmp_path / "var" / "data.db"
    path.parent.mkdir()
    a_database(path)
    before = path.read_bytes()
    said = nothing_but_one_line(start(configured(), ready=False), code=2)
    assert "'records'" in said
    assert not list(path.parent.glob("*.corrupt-*"))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*), max(length(fill)) FROM records").fetchone() == (2000, 200)
    assert len(path.read_bytes()) >= len(before)


@pytest.mark.parametrize("db", ["data.db", "streamd.db", "dead-letters.db"])
def test_a_folder_where_the_database_should_be_is_one_line(db: str, start: Any, tmp_path: Path) -> None:
    path = tmp_path / "var" / db
    path.mkdir(parents=True)
    said = nothing_but_one_line(start(configured(), ready=False))
    assert str(path) in said
    assert path.is_dir()


def test_a_file_where_the_state_folder_should_be_is_one_line(start: Any, tmp_path: Path) -> None:
    (tmp_path / "var").write_text("in the way")
    said = nothing_but_one_line(start(configured(), ready=False))
    assert str(tmp_path / "var") in said


def test_a_read_only_file_system_is_one_line(start: Any, disk: Disk) -> None:
    subprocess.run([*disk.prefix, "mount", "-o", "remount,ro", str(disk.mounted_at)], check=True, timeout=30)
    said = nothing_but_one_line(start(configured(str(disk.mounted_at)), *disk.prefix, ready=False))
    assert str(disk.mounted_at) in said
    assert "Read-only" in said


@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_a_state_folder_of_another_user_is_one_line(mode: int, start: Any, tmp_path: Path) -> None:
    as_nobody: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere, and there is no setpriv to be somebody else")
        as_nobody = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    state = tmp_path / "var"
    state.mkdir()
    state.chmod(mode)
    said = nothing_but_one_line(start(configured(), *as_nobody, ready=False))
    assert str(state) in said
    assert "ermission denied" in said
    state.chmod(0o700)


def test_a_database_that_may_not_be_written_is_one_line(start: Any, tmp_path: Path) -> None:
    as_nobody = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    if as_nobody and shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and there is no setpriv to be somebody else")
    path = tmp_path / "var" / "data.db"
    path.parent.mkdir()
    path.write_bytes(b"")
    path.chmod(0o400)
    said = nothing_but_one_line(start(configured(), *as_nobody, ready=False))
    assert str(path) in said
