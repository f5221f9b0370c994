"""Other programs beside the daemon: whoever opens a database and closes it costs no committed row."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import preloaded

TWO_LOOKS_S = 0.6
"""At least two turns of retention, which looks at the files every quarter of a second."""
SHARED_LOCK = 0x40000002
"""Where SQLite keeps the lock by which a program shows that it uses a database."""

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["lab"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
batch = {{ max_wait = "20ms" }}
{sink}
"""
TYPED = 'columns = { n = "int", at = "timestamp" }\nmetadata = true\n'
AGE = 'retention = { max_age = "30d" }\n'
KINDS = {
    "plain": 'path = "streamd.db"\n' + AGE,
    "of its own": 'path = "data.db"\nsynchronous = "full"\nretention = { max_size = "1GiB" }\n',
    "by the day": 'path = "data-%Y-%m-%d.db"\n' + AGE,
    "by the hour": 'path = "data-%Y-%m-%d-%H.db"\nretention = { max_age = "30d", max_size = "1GiB" }\n',
    "by the month": 'path = "data-%Y-%m.db"\n' + TYPED + 'unique = ["n"]\nextra = "add_column"\n' + AGE,
    "relative": 'path = "sub/../data.db"\n' + TYPED + 'indexes = [["n"]]\n' + AGE,
    "symlinked": 'path = "link.db"\n' + TYPED + 'retention = { max_age = "30d", age_column = "at" }\n',
    "in a symlinked folder": 'path = "folder/data-%Y.db"\nretention = { max_age = "1d", min_free = "1B" }\n',
}


def datagram(n: int) -> bytes:
    return json.dumps({"n": n, "at": time.time()}).encode()


def look_as_others_do(path: Path) -> Any:
    """What `sqlite3 FILE 'select count(*) …'` does: open for writing, read, close."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def databases(daemon: Any) -> list[Path]:
    """The files that the daemon has open."""
    found = set()
    for descriptor in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)  # noqa: PTH115 - it may say more than a path
        except FileNotFoundError:
            continue
        assert " (deleted)" not in target or "-wal" not in target, target
        if target.endswith(".db"):
            found.add(Path(target))
    return sorted(found)


def assert_locked(daemon: Any) -> None:
    """The daemon shows that it uses each of its databases."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    locked = {
        line[5].rpartition(":")[2]
        for line in lines
        if line[4] == str(daemon.process.pid) and line[6] == str(SHARED_LOCK)
    }
    for path in databases(daemon):
        assert str(path.stat().st_ino) in locked, path


def stored(daemon: Any, name: str) -> int:
    path = next(path for path in databases(daemon) if name in path.name)
    ((count,),) = daemon.query("SELECT count(*) FROM records", str(path))
    return int(count)


def streamd(daemon: Any, *words: str) -> None:
    """A command of streamd's beside the daemon."""
    done = preloaded.run([*words, "--config", str(daemon.config)], daemon.folder)
    assert "Traceback" not in done.stderr, done.stderr


def assert_nothing_is_lost(daemon: Any, path: Path, count: int) -> None:
    """After a kill -9 all rows are there, as the ledger says."""
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM records").fetchone() == (count,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_the_path_and_the_options_the_locks_stay_and_every_row_is_kept(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], kind: str, stays: Any
) -> None:
    var = tmp_path / "var"
    (var / "sub").mkdir(parents=True)
    (var / "real").mkdir()
    (var / "link.db").symlink_to(var / "real" / "linked.db")
    (var / "folder").symlink_to(var / "real", target_is_directory=True)
    daemon = start(CONFIG.format(sink=KINDS[kind]))
    name = "linked" if kind == "symlinked" else "streamd" if kind == "plain" else "data"
    daemon.udp(datagram(1), b"not JSON")
    wait_until(lambda: stored(daemon, name) == 1, "the first row")
    stays(lambda: stored(daemon, name) == 1, TWO_LOOKS_S)
    path = next(path for path in databases(daemon) if name in path.name and "dead" not in path.name)
    for n in (2, 3):
        assert_locked(daemon)
        for each in databases(daemon):
            look_as_others_do(each)
        daemon.udp(datagram(n), b"not JSON")
        wait_until(lambda count=n: stored(daemon, name) == count, f"row {n}")
    wait_until(
        lambda: daemon.query("SELECT count(*) FROM dead_letters", "dead-letters.db") == [(3,)], "the letters"
    )
    assert daemon.events("database_files_lost") == []
    assert_nothing_is_lost(daemon, path, 3)


COMMANDS = [
    ("query", "SELECT count(*) FROM records"),
    ("tail", "-n1"),
    ("status",),
    ("check",),
    ("doctor",),
    ("dead-letters",),
    ("dead-letters", "purge", "--all", "--yes"),
    ("dead-letters", "replay"),
]


def test_no_command_beside_the_daemon_takes_its_files_away(
    start: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    daemon = start(CONFIG.format(sink=KINDS["by the day"]))
    count = 0
    for words in COMMANDS:
        count += 1
        daemon.udp(datagram(count), b"not JSON")
        wait_until(lambda expected=count: stored(daemon, "data") == expected, f"row {count}")
        before = {path: path.with_name(f"{path.name}-wal").stat().st_ino for path in databases(daemon)}
        streamd(daemon, *words)
        after = {path: path.with_name(f"{path.name}-wal").stat().st_ino for path in databases(daemon)}
        assert after == before, words
        assert_locked(daemon)
        for each in before:
            look_as_others_do(each)
    count += 1
    daemon.udp(datagram(count))
    wait_until(lambda: stored(daemon, "data") == count, "the last row")
    path = next(path for path in databases(daemon) if "data-" in path.name)
    assert daemon.events("database_files_lost") == []
    assert_nothing_is_lost(daemon, path, count)


STEP = """
def peek(record):
    with open("{path}", "rb") as file:
        file.read(16)
    return record
"""


def ready(daemon: Any) -> str:
    try:
        with urllib.request.urlopen(f"{daemon.admin()}/readyz", timeout=30) as answer:  # noqa: S310 - http
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


def test_a_step_that_gives_up_the_locks_costs_no_row_and_is_noticed(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    path = tmp_path / "var" / "data.db"
    (tmp_path / "steps.py").write_text(STEP.format(path=path))
    config = CONFIG.format(sink='path = "data.db"\n').replace(
        'sinks = ["records"]',
        'sinks = ["records"]\nsteps = [{ type = "python", function = "steps.py:peek" }]',
        1,
    )
    daemon = start(config)
    for n in range(1, 6):
        daemon.udp(datagram(n))
        wait_until(
            lambda count=n: daemon.query("SELECT count(*) FROM records", "data.db") == [(count,)], f"row {n}"
        )
        look_as_others_do(path)  # takes itself for the last, and deletes the log
    wait_until(lambda: daemon.events("database_recovered"), "the recovery")
    lost = daemon.events("database_files_lost")
    assert re.fullmatch(f"{path}-wal was (removed|replaced) while in use", lost[0]["why"])
    wait_until(lambda: "data.db-wal was re" in ready(daemon), "not ready")
    (sink,) = json.loads(daemon.control("GET", "/status")[1])["sinks"]
    assert (sink["state"], sink["reason"]) == ("retrying", "log_removed")
    daemon.udp(datagram(6))
    wait_until(lambda: daemon.query("SELECT count(*) FROM records", "data.db") == [(6,)], "the last row")
    daemon.stop()
    assert daemon.books()["lab", "main", "records", "stored"] == 6


@pytest.mark.parametrize("ledger_too", [False, True])
def test_a_log_that_somebody_removes_costs_no_row_and_the_books_stay_true(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], ledger_too: bool
) -> None:
    name = "streamd.db" if ledger_too else "data.db"
    path = tmp_path / "var" / name
    daemon = start(CONFIG.format(sink=f'path = "{name}"\n'))
    for n in range(1, 4):
        daemon.udp(datagram(n))
        wait_until(
            lambda count=n: daemon.query("SELECT count(*) FROM records", name) == [(count,)], f"row {n}"
        )
        for suffix in ("-wal", "-shm"):
            path.with_name(f"{name}{suffix}").unlink()
        recovered = len(daemon.events("database_recovered"))
        wait_until(lambda before=recovered: len(daemon.events("database_recovered")) > before, "the recovery")
        assert daemon.query("SELECT count(*) FROM records", name) == [(n,)]
    daemon.stop()
    assert daemon.books()["lab", "main", "records", "stored"] == 3
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM records").fetchone() == (3,)


def test_records_that_come_while_the_database_is_away_are_stored_in_the_next(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    path = tmp_path / "var" / "streamd.db"  # the ledger's too
    daemon = start(CONFIG.format(sink='path = "streamd.db"\n'))
    daemon.udp(datagram(1))
    daemon.wait_rows(1)
    away = path.rename(path.with_name("away.db"))
    daemon.udp(datagram(2))
    wait_until(lambda: "streamd.db was removed while in use" in ready(daemon), "not ready")
    wait_until(lambda: daemon.query("SELECT count(*) FROM records") == [(1,)], "a new file")
    daemon.stop()
    assert daemon.books()["lab", "main", "records", "stored"] == 2
    for file, n in ((away, 1), (path, 2)):
        with closing(sqlite3.connect(file)) as connection:
            (record,) = (json.loads(text) for (text,) in connection.execute("SELECT record FROM records"))
            assert record["n"] == n


@contextmanager
def following(daemon: Any) -> Iterator[Callable[[str], None]]:
    """A `tail -f`; the function waits for a text in what it prints next."""
    out = daemon.folder / "tail.out"
    command = [sys.executable, "-m", "streamd", "tail", "-f", "--json", "--config", str(daemon.config)]
    with out.open("wb") as stdout, subprocess.Popen(command, cwd=daemon.folder, stdout=stdout) as process:

        def expect(text: str) -> None:
            end_s = time.monotonic() + 30
            while not re.search(text, out.read_text()):
                assert time.monotonic() < end_s, f"{text} did not come: {out.read_text()}"
                time.sleep(0.02)

        try:
            yield expect
        finally:
            process.kill()


@pytest.mark.parametrize("kind", ["plain", "by the day"])
def test_a_follower_hears_the_next_daemon_too(start: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    config = CONFIG.format(sink=KINDS[kind])
    first = start(config)
    first.udp(datagram(0))
    first.wait_rows(1, db=databases(first)[0 if kind == "by the day" else -1].name)
    first.stop()
    for path in (tmp_path / "var").glob("*.db*"):
        path.unlink()
    with following(first) as expect:  # begun before there is a file
        for n in range(1, 5):
            daemon = start(config)
            daemon.udp(datagram(n))
            expect(rf'\\"n\\":\s*{n}\b')
            if n % 2:
                daemon.stop()
            else:
                daemon.process.kill()
                daemon.process.wait()
