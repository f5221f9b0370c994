"""Dead letters made, the configuration mended, replayed: all stored, none twice.

Also about `cli/_replay.py`.
"""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
[daemon]
workers = 2
[admin]
listen = "none"
[schemas.reading]
id = "int"
value = {value}
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
schema = "reading"
[pipelines.main]
sources = ["floor"]
steps = [{{ type = "python", function = "steps.py:check" }}]
sinks = ["records", "narrow"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
[sinks.narrow]
type = "sqlite"
path = "streamd.db"
table = "{table}"
columns = {{ id = "int", value = {column} }}
"""
WRONG = CONFIG.format(
    value='{ type = "float", le = 100 }', column='{ type = "float", le = 50 }', table="narrow"
)
MENDED = CONFIG.format(value='"float"', column='"float"', table="narrow")
WRONG_STEP = """
import streamd
def check(record):
    if record["id"] % 5 == 0:
        raise streamd.Reject("five")
    return record
"""
GATED_STEP = """
import pathlib, time
def check(record):
    while record["id"] == 1500 and not pathlib.Path("go").exists():
        time.sleep(0.01)
    return record
"""
MENDED_STEP = "def check(record):\n    return record\n"
READINGS = 1000


def value_of(number: int) -> float:
    """Every tenth is too much for the schema, every seventh for one of the two sinks."""
    return 200.0 if number % 10 == 3 else 75.0 if number % 7 == 0 else 1.0


def lines(start: int = 0) -> bytes:
    return b"".join(
        b'{"id":%d,"value":%.1f}\n' % (number, value_of(number)) for number in range(start, start + READINGS)
    )


def command(folder: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-W",
        "error",
        "-m",
        "streamd",
        "dead-letters",
        *more,
        "--config",
        str(folder / "streamd.toml"),
    ]


def replay(folder: Path, *more: str) -> tuple[int, str]:
    done = subprocess.run(
        command(folder, "replay", *more), cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def each_once(daemon: Any, count: int) -> None:
    """Every reading is in both tables, and none twice."""
    for sql in ("SELECT record ->> 'id' FROM records", "SELECT id FROM narrow"):
        assert sorted(number for (number,) in daemon.query(sql)) == list(range(count)), sql


def letters(daemon: Any) -> int:
    return int(daemon.query("SELECT count(*) FROM dead_letters", "dead-letters.db")[0][0])


def test_mended_and_replayed_all_is_stored_and_none_twice(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(WRONG_STEP)
    daemon = start(WRONG)
    daemon.tcp(lines())
    daemon.stop()
    stages = daemon.query("SELECT stage, count(*) FROM dead_letters GROUP BY 1", "dead-letters.db")
    assert {stage for stage, _ in stages} == {"decode", "python[0]", "sink"}
    refused = letters(daemon)
    stored = daemon.query("SELECT count(*) FROM records")[0][0]
    assert (stored, refused) == (700, 300 + 100)
    before = replay(tmp_path)
    assert before[0] == 1
    assert f"{refused} rejected again" in before[1]
    assert letters(daemon) == refused, "what is refused again is there once"

    (tmp_path / "steps.py").write_text(MENDED_STEP)
    (tmp_path / "streamd.toml").write_text(MENDED)
    code, out = replay(tmp_path)
    assert (code, out) == (
        0, f"{refused} dead letters:\n  {refused} stored, and no longer in the dead letters\n",
    )  # fmt: skip
    each_once(daemon, READINGS)
    assert letters(daemon) == 0
    books = daemon.books()
    assert {source for source, *_ in books} == {"replay"}
    assert books["replay", "", "", "received"] == refused
    assert books["replay", "main", "narrow", "stored"] == refused
    assert books["replay", "main", "records", "stored"] == 300
    assert replay(tmp_path) == (0, "no dead letters match\n")


def test_a_daemon_goes_on_while_letters_are_replayed(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(WRONG_STEP)
    daemon = start(WRONG)
    daemon.tcp(lines())
    daemon.stop()
    (tmp_path / "steps.py").write_text(MENDED_STEP)
    daemon = start(MENDED)
    run = subprocess.Popen(command(tmp_path, "replay"), cwd=tmp_path, stdout=subprocess.DEVNULL)
    for part in range(1, 5):
        daemon.tcp(lines(part * READINGS))
    assert run.wait(60) == 0
    daemon.wait_rows(5 * READINGS)
    daemon.wait_rows(5 * READINGS, "narrow")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(60) == 0
    assert "books balance" in daemon.stderr
    each_once(daemon, 5 * READINGS)
    assert letters(daemon) == 0
    assert daemon.query("SELECT 1 FROM ledger WHERE counter = 'unclean'") == [], (
        "neither took the other for dead"
    )
    assert daemon.query("SELECT sum(n) FROM ledger WHERE source = 'floor' AND counter = 'received'") == [
        (5 * READINGS,)
    ], "what is replayed is not received a second time"


@pytest.fixture
def refused(start: Callable[..., Any], tmp_path: Path) -> Any:
    """A daemon that has stopped, with six times as many dead letters as a replay has under way at once.

    The step that is mended then waits in the second thousand until there is a file `go`.
    """
    (tmp_path / "steps.py").write_text("import streamd\ndef check(record):\n    raise streamd.Reject('no')\n")
    daemon = start(MENDED.replace('table = "narrow"', 'table = "narrow"\nunique = ["id"]'))
    for part in range(6):
        daemon.tcp(lines(part * READINGS))
    daemon.stop()
    assert letters(daemon) == 6 * READINGS
    (tmp_path / "steps.py").write_text(GATED_STEP)
    return daemon


def test_killed_in_the_middle_nothing_is_lost_and_unique_keeps_it_once(
    refused: Any, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    total = 6 * READINGS
    run = subprocess.Popen(command(tmp_path, "replay"), cwd=tmp_path, stderr=subprocess.DEVNULL)

    def stored() -> list[int]:
        return [refused.query(f"SELECT count(*) FROM {table}")[0][0] for table in ("narrow", "records")]  # noqa: S608 - our own words

    wait_until(lambda: letters(refused) == total - READINGS, "the first letters deleted")
    # Nobody else may write the letters now: what the replay commits next, it cannot delete.
    with closing(sqlite3.connect(tmp_path / "var" / "dead-letters.db", timeout=30)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        (tmp_path / "go").touch()
        wait_until(lambda: stored() == [2 * READINGS] * 2, "rows whose letters are still there")
        run.kill()
        run.wait()
    assert letters(refused) == total - READINGS
    assert replay(tmp_path)[0] == 0
    assert letters(refused) == 0
    killed = refused.query("SELECT reason, n FROM ledger WHERE counter = 'unclean'")
    assert killed == [("replay", None)], "the next replay tells of the one that was killed"
    assert sorted(number for (number,) in refused.query("SELECT id FROM narrow")) == list(range(total))
    records = refused.query("SELECT count(*), count(DISTINCT record ->> 'id') FROM records")
    assert records == [(total + READINGS, total)], "without unique at least once"


def test_interrupted_it_ends_what_is_under_way(
    refused: Any, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    total = 6 * READINGS
    run = subprocess.Popen(command(tmp_path, "replay"), cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: letters(refused) == total - READINGS, "the first letters deleted")
    run.send_signal(signal.SIGINT)
    (tmp_path / "go").touch()
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    left = letters(refused)
    assert left in (total - READINGS, total - 2 * READINGS), "the signal may come before the second thousand"
    assert f"{left:,} not reached" in out
    assert replay(tmp_path)[0] == 0
    each_once(refused, total)
