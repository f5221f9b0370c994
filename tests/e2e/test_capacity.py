"""`streamd capacity` against reality: its suggestion holds the stall it was asked for, half does not."""

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamd.capacity.measured import ENOUGH_BUSY_S

STALL_S, RATE_PER_S = 100, 100
"""In a stall nothing leaves, so records may come faster than this, once the sink's buffer is full."""
RECORDS = STALL_S * RATE_PER_S
BUFFER = 1000

CONFIG = """
[admin]
listen = "none"
[ledger]
interval = "0.2s"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
[sources.floor.buffer]
max_records = 1000
when_full = "drop_newest"
[pipelines.main]
sources = ["floor"]
sinks = ["readings"]
[sinks.readings]
type = "sqlite"
path = "readings.db"
buffer = { max_records = 1000 }
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another connection has a write under way in the database."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


def asked(daemon: Any, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the document of the command."""
    command = [
        sys.executable,
        "-m",
        "streamd",
        "capacity",
        "--socket",
        "var/control.sock",
        "--json",
        *arguments,
    ]
    done = subprocess.run(command, cwd=daemon.folder, check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def work(daemon: Any) -> None:
    """Send lines until the costs of a record can be measured."""
    sent = 0
    while not any(
        stage["kind"] == "workers" and stage["busy_s"] > ENOUGH_BUSY_S
        for stage in json.loads(daemon.control("GET", "/status")[1])["stages"]
    ):
        daemon.tcp(b'{"seq":1}\n' * 900)
        sent += 900
        daemon.wait_rows(sent, db="readings.db")


def resized(fragment: str, share: float) -> str:
    """The configuration with a share of the suggested buffer of the source."""
    (wanted,) = re.findall(r"^\[sources\.floor\.buffer\]\nmax_records = (\d+)\n", fragment)
    return CONFIG.replace(
        "max_records = 1000\nwhen_full", f"max_records = {int(int(wanted) * share)}\nwhen_full"
    )


def dropped_in_stall(daemon: Any, wait_until: Callable[..., Any]) -> int:
    """Lock the database, send the records of the stall, and unlock. Returns how many were lost."""
    with locked(daemon.folder / "var" / "readings.db"):
        daemon.tcp(b'{"seq":1}\n' * BUFFER)
        wait_until(lambda: daemon.books()["floor", "", "", "decoded"] == BUFFER, "a full buffer of the sink")
        daemon.tcp(b'{"seq":1}\n' * (RECORDS - BUFFER))
        wait_until(lambda: daemon.books()["floor", "", "", "received"] == RECORDS, "all records in the books")
    dropped: int = daemon.books()["floor", "", "", "dropped"]
    daemon.wait_rows(RECORDS - dropped, db="readings.db")
    daemon.stop()
    books = daemon.books()
    assert books["floor", "", "", "dropped"] == dropped
    assert books["floor", "main", "readings", "stored"] == RECORDS - dropped
    assert daemon.query("SELECT count(*) FROM records", "readings.db") == [(RECORDS - dropped,)]
    return dropped


def test_the_suggestion_holds_the_stall_for_which_it_was_asked_and_half_of_it_does_not(
    start_in: Any, wait_until: Callable[..., Any]
) -> None:
    measured = start_in("measured", CONFIG)
    work(measured)
    stall = ["--rate", f"{RATE_PER_S}/s", "--stall", f"readings={STALL_S}s", "--over", "1s"]
    code, document = asked(measured, *stall)
    measured.stop()
    assert code == 1
    assert [loss["name"] for loss in document["losses"]] == ["floor"]
    assert document["losses"][0]["lost"] == pytest.approx(RECORDS - 2 * BUFFER, rel=0.01)
    fragment = next(one["toml"] for one in document["suggestions"] if one["holds"] and "floor" in one["toml"])

    assert dropped_in_stall(start_in("whole", resized(fragment, 1.0)), wait_until) == 0
    assert dropped_in_stall(start_in("half", resized(fragment, 0.5)), wait_until) > 0


def test_a_sheet_takes_the_cost_of_a_record_from_the_running_daemon(
    start: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    source = 'type = "generate"\nrate = 5000'
    daemon = start(CONFIG.replace('type = "tcp"\nlisten = "127.0.0.1:0"', source))
    command = [sys.executable, "-m", "streamd", "capacity", "--socket", "var/control.sock", "--json"]

    def sheet() -> Any:
        done = subprocess.run(
            [*command, "--over", "1s", "--sheet", "1M/s"],
            cwd=daemon.folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0 or "Offer a load" in done.stderr, done.stderr
        return json.loads(done.stdout) if done.returncode == 0 else None

    found = wait_until(sheet, "a load that shows the cost")
    daemon.stop()
    single = found["figures"]["single_cpu_s_per_million"]
    assert single["origin"] == "measured"
    assert single["value"] > 1
    (column,) = found["rates"]
    # A core of each process is 70 % busy.
    assert column["one_machine"]["processes"] == pytest.approx(single["value"] / 0.7, abs=1)
    assert column["edge"]["processes"] == column["worker"]["processes"]
