"""Rows go while others come: the bounds hold, and the books say how many are there."""

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

ROWS = 1_000_000
LINES_AT_ONCE = 2000
ROWS_PER_S = 60_000
"""Of each of two senders."""
MAX_BYTES = 8 * 2**20
SLACK_BYTES = 6 * 2**20
"""What may come between two looks at the size, on a machine that is busy with other tests."""
TYPED = """
[admin]
listen = "127.0.0.1:0"
[ledger]
interval = "500ms"
[schemas.reading]
sender = "int"
seq = "int"
value = "float"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
schema = "reading"
[pipelines.main]
sources = ["floor"]
sinks = ["readings"]
[sinks.readings]
type = "sqlite"
table = "readings"
schema = "reading"
retention = { max_size = "8MiB" }
"""
DATED = TYPED.replace('table = "readings"', 'path = "r-%Y-%m-%d.db"\ntable = "readings"')
EQUATION = """
SELECT (SELECT count(*) FROM readings), (SELECT sum(CASE counter WHEN 'stored' THEN n ELSE -n END) FROM ledger
WHERE sink = 'readings' AND counter IN ('stored', 'replaced', 'expired'))
"""


def pace(seconds: float) -> None:
    time.sleep(max(0.0, seconds))


def send(daemon: Any, sender: int, count: int) -> None:
    began_s = time.monotonic()
    for first in range(0, count, LINES_AT_ONCE):
        pace(began_s + first / ROWS_PER_S - time.monotonic())
        lines = [b'{"sender":%d,"seq":%d,"value":1.5}\n' % (sender, first + i) for i in range(LINES_AT_ONCE)]
        daemon.tcp(b"".join(lines))


def used_bytes(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        ((pages, free),) = connection.execute(
            "SELECT page_count, freelist_count FROM pragma_page_count, pragma_freelist_count"
        )
    return int(pages - free) * 4096


def test_a_million_rows_pass_through_a_bounded_file_and_the_ledger_says_what_is_left(
    start: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    daemon = start(TYPED)
    path = daemon.folder / "var" / "streamd.db"
    looked = largest = 0
    with ThreadPoolExecutor(2) as senders:
        sending = [senders.submit(send, daemon, sender, ROWS // 2) for sender in range(2)]
        while not all(future.done() for future in sending):
            ((count, told),) = daemon.query(EQUATION) or [(0, 0)]
            assert count == (told or 0)
            largest = max(largest, used_bytes(path))
            looked += 1
        for future in sending:
            future.result()
    wait_until(lambda: sum(daemon.query("SELECT sum(n) FROM ledger WHERE counter = 'stored'")[0]) == ROWS)
    wait_until(lambda: used_bytes(path) <= MAX_BYTES, "the file to be within its bound")
    ((count, told),) = daemon.query(EQUATION)
    assert count == told
    assert looked > 3
    assert largest <= MAX_BYTES + SLACK_BYTES
    assert daemon.query("SELECT count(DISTINCT sender) FROM readings WHERE seq >= 499000") == [(2,)]
    daemon.stop()
    assert path.stat().st_size <= MAX_BYTES + SLACK_BYTES
    ((count, told),) = daemon.query(EQUATION)
    assert 0 < count == told < ROWS
    assert daemon.events("retention_retrying") == []


def test_a_file_for_each_day_holds_the_rows_and_the_ledger_stays_on_its_own(
    start: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    daemon = start(DATED)
    state = daemon.folder / "var"
    send(daemon, 1, LINES_AT_ONCE)
    wait_until(lambda: daemon.books()["floor", "main", "readings", "stored"] == LINES_AT_ONCE, "the books")
    files = sorted(path.name for path in state.glob("r-*.db"))
    assert sum(daemon.query("SELECT count(*) FROM readings", file)[0][0] for file in files) == LINES_AT_ONCE
    assert daemon.query("SELECT count(*) FROM readings") == []
    daemon.stop()
    assert [path.suffix for path in state.glob("r-*")] == [".db"] * len(files)


def test_a_day_long_over_is_removed_at_start_and_counted(
    start: Callable[..., Any], wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    state = tmp_path / "var"
    state.mkdir()
    with closing(sqlite3.connect(state / "r-2020-01-01.db")) as connection:
        connection.execute("CREATE TABLE readings (sender INTEGER, seq INTEGER, value REAL) STRICT")
        connection.executemany("INSERT INTO readings VALUES (1, ?, 1.5)", [(i,) for i in range(500)])
        connection.commit()
    daemon = start(DATED.replace('max_size = "8MiB"', 'max_age = "30d"'))
    send(daemon, 1, LINES_AT_ONCE)
    wait_until(lambda: not (state / "r-2020-01-01.db").exists(), "the old file to go")
    wait_until(lambda: daemon.events("file_expired"), "the event")
    daemon.stop()
    assert daemon.query("SELECT stored, expired FROM ledger_sinks") == [(LINES_AT_ONCE, 500)]
    assert "sink readings: of stored, 500 expired since\n" in daemon.stderr
