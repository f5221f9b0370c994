"""The table `quality` of a daemon that is reloaded, stopped and killed."""

import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

CONFIG = """
[ledger]
interval = "200ms"

[schemas.reading]
id = "int"
temp = { type = "float", required = false }

[sources.log]
type = "file"
path = "in.log"
codec = "json"
schema = "reading"

[pipelines.main]
sources = ["log"]
steps = [{ type = "validate", rules = [
    { field = "temp", check = "range", le = 85, on_error = "fix" },
    { field = "id", check = "unique", within = "1h", on_error = "reject" },
] }]
sinks = ["store"]

[sinks.store]
type = "sqlite"
path = "streamd.db"
table = "readings"
columns = { id = "int", temp = "float", quality = "json" }
unique = ["id"]
"""
SUMS = "SELECT rule, field, sum(checked), sum(failed), sum(fixed) FROM quality GROUP BY 1, 2 ORDER BY 1, 2"


def lines(first: int, count: int) -> str:
    temps = ', "temp": 100', "", ', "temp": 20', ', "temp": null'
    return "".join(f'{{"id": {n}{temps[n % 4]}}}\n' for n in range(first, first + count))


def test_counts_survive_a_reload_and_a_restart_and_a_killed_run_is_named(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    log = tmp_path / "in.log"
    log.write_text(lines(0, 40))
    daemon = start(CONFIG)
    daemon.wait_rows(40, "readings")
    daemon.config.write_text(CONFIG + '\n[sinks.more]\ntype = "file"\npath = "more.ndjson"\n')
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.events("reloaded"), "reloaded")
    with log.open("a") as file:
        file.write(lines(0, 1) + '{"id": "text"}\n{"temp": 1}\n' + lines(40, 40))
    daemon.wait_rows(80, "readings")
    daemon.stop()
    daemon.assert_balanced()
    assert daemon.query(SUMS) == [
        ("id_unique", "id", 81, 1, 0),
        ("schema:null", "id", 83, 1, 0),
        ("schema:null", "temp", 83, 40, 0),
        ("schema:range", "id", 83, 0, 0),
        ("schema:range", "temp", 83, 0, 0),
        ("schema:type", "id", 83, 1, 0),
        ("schema:type", "temp", 83, 0, 0),
        ("temp_range", "temp", 81, 21, 20),
    ]
    assert set(daemon.query("SELECT complete FROM quality_now")) == {(1,)}
    letters = dict(daemon.query("SELECT reason, id FROM dead_letters", "dead-letters.db"))
    found = dict(
        daemon.query("SELECT rule || ' ' || field, dead_letter FROM quality_now WHERE dead_letter > 0")
    )
    assert found == {
        "id_unique id": letters["rule:unique"],
        "schema:null id": letters["schema:required"],
        "schema:type id": letters["schema:type"],
    }
    fixed = daemon.query("SELECT DISTINCT temp, quality ->> 'temp_range' FROM readings WHERE id % 4 = 0")
    assert fixed == [(85.0, "lowered from 100.0")]

    daemon = start(CONFIG)
    with log.open("a") as file:
        file.write(lines(80, 40) + lines(5, 1))
    daemon.wait_rows(120, "readings")
    wait_until(lambda: daemon.query("SELECT max(checked) FROM quality")[0][0] > 0, "a flush")
    daemon.process.kill()
    daemon.process.wait()
    daemon = start(CONFIG)
    with log.open("a") as file:
        file.write(lines(120, 4) + lines(7, 1))
    daemon.wait_rows(124, "readings")
    daemon.stop()
    daemon.assert_balanced()
    assert sorted(daemon.query("SELECT id FROM readings")) == [(n,) for n in range(124)]
    assert set(daemon.query("SELECT complete FROM quality_now")) == {(0,)}


def test_records_that_are_read_again_after_a_kill_count_twice_and_the_view_says_so(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    """The counts are stored, the records are not: another program keeps the file of the sink locked."""
    rules = '{ field = "temp", check = "range", le = 85, on_error = "count" }'
    config = f"{CONFIG[: CONFIG.index('steps = ')]}steps = [{{ type = 'validate', rules = [{rules}] }}]\n"
    config += CONFIG[CONFIG.index('sinks = ["store"]') :].replace("streamd.db", "other.db")
    log = tmp_path / "in.log"
    log.write_text(lines(0, 1))
    daemon = start(config)
    daemon.wait_rows(1, "readings", "other.db")
    checked = "SELECT sum(checked), sum(failed) FROM quality WHERE rule = 'temp_range'"
    with closing(sqlite3.connect(tmp_path / "var/other.db", isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        with log.open("a") as file:
            file.write(lines(1, 39))
        wait_until(lambda: daemon.query(checked)[0][0] == 40, "the counts of all records")
        daemon.process.kill()
        daemon.process.wait()
    daemon = start(config)
    daemon.wait_rows(40, "readings", "other.db")
    daemon.stop()
    daemon.assert_balanced()
    assert daemon.query("SELECT count(*), count(DISTINCT id) FROM readings", "other.db") == [(40, 40)]
    assert daemon.query(checked) in ([(80, 20)], [(79, 19)])  # the position may be behind the first record
    assert set(daemon.query("SELECT complete FROM quality_now")) == {(0,)}
