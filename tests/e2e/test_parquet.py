"""Parquet files of a daemon that is stopped, killed and started again."""

import json
import re
import shutil
import signal
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyarrow import parquet as pq

GUIDE = Path(__file__).parents[2] / "docs/how-to/parquet.md"
TAIL = """
[admin]
listen = "127.0.0.1:0"
[schemas.line]
n = "int"
[sources.app]
type = "file"
path = "app.log"
codec = "json"
schema = "line"
[pipelines.main]
sources = ["app"]
sinks = ["lake"]
[sinks.lake]
type = "parquet"
path = "lake/day=%Y-%m-%d/lines.parquet"
schema = "line"
batch = { max_records = 2000, max_wait = "100ms" }
retention = { min_free = "0B" }
"""


def ask(sql: str) -> list[Any]:
    with duckdb.connect() as connection:
        rows: list[Any] = connection.execute(sql).fetchall()
        return rows


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.parquet"))


def numbers(folder: Path) -> list[int]:
    """The rows of every whole file, each read from its beginning to its end."""
    return [n for path in files(folder) for n in pq.ParquetFile(path).read()["n"].to_pylist()]


def append(path: Path, first: int, count: int) -> None:
    with path.open("ab") as file:
        file.write(b"".join(b'{"n": %d}\n' % n for n in range(first, first + count)))


def test_every_line_of_a_file_is_stored_and_every_file_whole_though_the_daemon_is_killed(
    start: Callable[..., Any], wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    log, lake = tmp_path / "app.log", tmp_path / "var" / "lake"
    count, rounds = 20_000, 3
    written = threading.Event()

    def write() -> None:
        for first in range(0, count, 500):
            append(log, first, 500)
            written.wait(0.03)

    writer = threading.Thread(target=write)
    daemon = start(TAIL)
    writer.start()
    try:
        for killed in range(1, rounds + 1):
            daemon = daemon if killed == 1 else start(TAIL)
            at_least = killed * count // (2 * rounds)
            wait_until(lambda least=at_least: len(set(numbers(lake))) >= least, "rows")
            daemon.process.kill()
            daemon.process.wait()
            numbers(lake)  # raises for a file that is not whole
    finally:
        writer.join()
    left = lake / "day=2026-01-31" / ".lines-20260131T080000.000000Z-01234567.parquet.tmp"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"PAR1")
    daemon = start(TAIL)
    wait_until(lambda: len(set(numbers(lake))) == count, "every line")
    daemon.stop()
    assert sorted(set(numbers(lake))) == list(range(count))
    assert str(left) in [event["path"] for event in daemon.events("unfinished_file_removed")]
    assert not list(lake.rglob("*.tmp"))


def test_a_stop_makes_a_file_of_the_waiting_records_and_nothing_is_stored_twice(
    start: Callable[..., Any], wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    config = TAIL.replace("100ms", "1h")
    log, lake = tmp_path / "app.log", tmp_path / "var" / "lake"
    for first in (0, 1500):
        append(log, first, 500)
        daemon = start(config)
        wait_until(lambda: files(lake) and max(numbers(lake)) >= first, "the first file")  # noqa: B023
        append(log, first + 500, 1000)
        wait_until(lambda: _received(daemon) == 1500, "every line")  # noqa: B023
        daemon.stop()
        assert daemon.books()["app", "main", "lake", "stored"] == 1500
    assert sorted(numbers(lake)) == list(range(3000))


def _received(daemon: Any) -> int:
    status = json.loads(daemon.control("GET", "/status")[1])
    return sum(source["frames"]["received"] for source in status["sources"])


def test_the_guide_works_as_it_is_written(start: Callable[..., Any], tmp_path: Path) -> None:
    page = GUIDE.read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^```(toml|sql)\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    assert tomllib.loads(blocks["toml"])
    config = blocks["toml"].replace("127.0.0.1:9000", "127.0.0.1:0")
    daemon = start(config + '[admin]\nlisten = "127.0.0.1:0"\n')
    reading = b'{"ts":"2026-01-31T08:%02d:00Z","sensor":"s-1","value":%d,"unit":"C"}\n'
    daemon.tcp(b"".join(reading % (n, n) for n in range(3)), source="sensors")
    daemon.stop()
    sql = blocks["sql"].replace("var/", f"{tmp_path}/var/").replace("current_date", "day")
    ((sensor, _, mean),) = ask(sql)
    assert (sensor, mean) == ("s-1", 1.0)
    units = f"SELECT DISTINCT extra->>'$.unit', source FROM '{tmp_path}/var/lake/**/*.parquet'"  # noqa: S608
    assert ask(units) == [("C", "sensors")]


@pytest.mark.parametrize("path", ["lake.parquet", "lake/%Y/%m/%d/%H.parquet"])
def test_two_sinks_of_one_path_are_refused(start: Callable[..., Any], path: str) -> None:
    config = TAIL.replace("lake/day=%Y-%m-%d/lines.parquet", path)
    second = config[config.index("[sinks.lake]") :].replace("[sinks.lake]", "[sinks.other]")
    daemon = start(config.replace('["lake"]', '["lake", "other"]') + second, ready=False)
    assert daemon.process.wait(60) == 2
    assert "sinks.lake writes this file" in daemon.stderr


def test_a_changed_schema_applies_from_the_next_file_on(
    start: Callable[..., Any], wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    log, lake = tmp_path / "app.log", tmp_path / "var" / "lake"
    daemon = start(TAIL.replace("100ms", "1h"))
    append(log, 0, 10)
    wait_until(lambda: files(lake), "the first file")
    append(log, 10, 10)
    wait_until(lambda: _received(daemon) == 20, "every line")
    more = TAIL.replace('n = "int"', 'n = "int"\nunit = { type = "str", required = false }')
    daemon.config.write_text(more)
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.events("reloaded"), "the reload")
    with log.open("a") as file:
        file.write('{"n": 20, "unit": "C"}\n')
    wait_until(lambda: 20 in numbers(lake), "the new record")
    daemon.stop()
    assert sorted(numbers(lake)) == list(range(21))
    together = f"read_parquet('{lake}/**/*.parquet', union_by_name = true)"
    assert ask(f"SELECT n, unit FROM {together} WHERE unit IS NOT NULL") == [(20, "C")]  # noqa: S608
    assert {"unit" in pq.read_schema(path).names for path in files(lake)} == {False, True}


def test_records_wait_while_a_file_is_in_the_place_of_the_folder(
    start: Callable[..., Any], wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    lake = tmp_path / "var" / "lake"
    daemon = start(TAIL)
    append(tmp_path / "app.log", 0, 10)
    wait_until(lambda: len(numbers(lake)) == 10, "the first records")
    shutil.rmtree(lake)
    lake.write_text("in the way")  # as root may write to any folder
    append(tmp_path / "app.log", 10, 10)
    wait_until(lambda: daemon.events("sink_retrying"), "the retry")
    assert daemon.events("sink_retrying")[0]["reason"] == "io"
    lake.unlink()
    wait_until(lambda: len(numbers(lake)) == 10, "the other records")
    daemon.stop()
    assert sorted(numbers(lake)) == list(range(10, 20))
    assert daemon.events("sink_recovered")
