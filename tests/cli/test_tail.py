import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streamd.cli import main

ANSWER_S = 30.0


def store(path: Path, *values: object, table: str = "readings") -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (sensor TEXT, value ANY) STRICT")
        connection.executemany(
            f"INSERT INTO {table} VALUES ('s', ?)",  # noqa: S608 - our own words
            [(value,) for value in values],
        )
        connection.commit()


def test_without_a_sqlite_sink_there_is_no_table_but_a_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "streamd.toml").write_text(f"""
[daemon]
state_dir = "{tmp_path}"
[sources.lab]
type = "generate"
[pipelines.main]
sources = ["lab"]
sinks = ["out"]
[sinks.out]
type = "stdout"
""")
    for words in (["tail"], ["tail", "readings"]):
        assert main([*words, "--config", str(tmp_path / "streamd.toml")]) == 2
        said = capsys.readouterr().err
        assert "no sink is of type sqlite, so there is no table: there are out (stdout); `streamd tap" in said


@contextmanager
def following(path: Path, *options: str) -> Iterator["Follower"]:
    command = [sys.executable, "-m", "streamd", "tail", "readings", "--db", str(path), "-f", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield Follower(process)
        finally:
            process.kill()


class Follower:
    """A `tail -f` and what it prints."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._read = {"out": b"", "err": b""}

    def expect(self, text: str, stream: str = "out") -> None:
        """Wait until `text` comes next, after what was expected before."""
        pipe = self.process.stdout if stream == "out" else self.process.stderr
        assert pipe is not None
        deadline_s = time.monotonic() + ANSWER_S
        while text.encode() not in self._read[stream]:
            ready, _, _ = select.select([pipe], [], [], max(0, deadline_s - time.monotonic()))
            more = os.read(pipe.fileno(), 65536) if ready else b""
            assert more, f"{text!r} did not come, only {self._read[stream]!r}"
            self._read[stream] += more
        before, _, self._read[stream] = self._read[stream].partition(text.encode())
        self.before = before.decode()
        """What came between this and what was expected before."""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    store(tmp_path / "streamd.db", *range(1, 21))
    return tmp_path / "streamd.db"


def tail(database: Path, *options: str) -> int:
    return main(["tail", "readings", "--db", str(database), *options])


def values(capsys: pytest.CaptureFixture[str]) -> list[object]:
    return [json.loads(line)["value"] for line in capsys.readouterr().out.splitlines()]


def test_the_newest_records_the_newest_last(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tail(database, "-n", "2") == 0
    assert capsys.readouterr().out == "sensor=s  value=19\nsensor=s  value=20\n"
    assert tail(database, "--json") == 0
    assert values(capsys) == list(range(11, 21))
    assert tail(database, "-n0") == 0
    assert values(capsys) == []


def test_a_condition_is_looked_for_as_far_back_as_it_takes(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tail(database, "-n", "2", "--json", "--where", "value < 5 or value = 9 -- few") == 0
    assert values(capsys) == [4, 9]


def test_what_came_from_the_network_cannot_control_a_terminal(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(database, "\x1b]0;owned\x07\n", None, b"\xff")
    assert tail(database, "-n", "3") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["sensor=s  value=\\x1b]0;owned\\x07\\n", "sensor=s", "sensor=s  value=x'ff'"]


def test_dated_files_are_gone_back_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for day in range(1, 4):
        store(tmp_path / f"logs-2026-01-0{day}.db", day * 10, day * 10 + 1)
    assert tail(tmp_path / "logs-%Y-%m-%d.db", "-n", "3", "--json") == 0
    assert values(capsys) == [21, 30, 31]


def test_what_is_no_database_under_a_dated_name_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(tmp_path / "logs-2026-01-01.db", 10)
    (tmp_path / "logs-2026-01-02.db").write_text("notes")
    (tmp_path / "logs-2026-01-03.db").mkdir()
    assert tail(tmp_path / "logs-%Y-%m-%d.db", "--json") == 0
    shown = capsys.readouterr()
    assert [json.loads(line)["value"] for line in shown.out.splitlines()] == [10]
    assert [line.split(" is left out: ")[1] for line in shown.err.splitlines()] == [
        "it does not begin like a database",
        "it is no regular file",
    ]


def test_a_sink_by_its_name_and_the_first_where_none_is_named(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = database.parent / "streamd.toml"
    config.write_text(f"""
        [daemon]
        state_dir = "{database.parent}"
        [sources.lab]
        type = "udp"
        listen = "127.0.0.1:9999"
        [pipelines.main]
        sources = ["lab"]
        sinks = ["kept"]
        [sinks.kept]
        type = "sqlite"
        table = "readings"
        columns = {{ sensor = "str", value = "any" }}
    """)
    for name in (["kept"], ["readings"], []):
        assert main(["tail", *name, "--config", str(config), "-n1", "--json"]) == 0
        assert values(capsys) == [20]
    assert main(["tail", "other", "--config", str(config)]) == 2
    assert "there are kept, readings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--where", "nothing = 1"], 2, "nothing"),
        (["--where", "1); DELETE FROM readings; --"], 2, "streamd: "),
        (["--where", "value > 99) or (1"], 2, 'near ")": syntax error'),
        (["--where", "1 LIMIT 1"], 2, 'near "LIMIT": syntax error'),
        (["--where", "1 UNION SELECT 1"], 2, 'near "UNION": syntax error'),
        (["--where", "1;"], 2, 'near ";": syntax error'),
        (["--where", "1 /*"], 2, "streamd: "),
        (["--where", ""], 2, "streamd: "),
        (["--where", "value = ?"], 2, "streamd: "),
        (["--where", "load_extension('x')"], 2, "refused"),
    ],
)
def test_a_wrong_condition_is_one_line_and_exit_2(
    options: list[str], code: int, words: str, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tail(database, *options) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_nothing_there_and_nothing_awaited_is_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tail(tmp_path / "streamd.db") == 1
    assert "there is no" in capsys.readouterr().err
    store(tmp_path / "streamd.db", 1, table="other")
    assert tail(tmp_path / "streamd.db") == 1
    assert "there is no table readings" in capsys.readouterr().err
    assert main(["tail", "--db", str(tmp_path / "streamd.db")]) == 2
    assert "--db needs the name of the table" in capsys.readouterr().err


def test_following_shows_what_comes_and_only_once_until_control_c(database: Path) -> None:
    with following(database, "-n", "1") as follower:
        follower.expect("value=20\n")
        store(database, 21, 22)
        follower.expect("sensor=s  value=21\nsensor=s  value=22\n")
        store(database, *range(5000))
        follower.expect("value=4999\n")
        follower.process.send_signal(signal.SIGINT)
        assert follower.process.wait(ANSWER_S) == 130
        assert follower.process.stderr is not None
        assert follower.process.stderr.read() == b""


def test_following_waits_for_the_file_and_the_table(tmp_path: Path) -> None:
    path = tmp_path / "streamd.db"
    with following(path, "--where", "value > 1") as follower:
        follower.expect("waiting for readings", "err")
        store(path, 5, table="other")
        store(path, 1, 2)
        follower.expect("sensor=s  value=2\n")


def test_following_goes_on_with_a_new_table_new_columns_and_a_new_file(database: Path) -> None:
    with following(database, "-n1", "--json") as follower:
        follower.expect('"value":20}\n')
        store(database, 21)
        follower.expect('"value":21}\n')
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("ALTER TABLE readings ADD COLUMN more TEXT")
            connection.execute("INSERT INTO readings VALUES ('s', 22, 'new')")
            connection.commit()
        follower.expect('"value":22,"more":"new"}\n')
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("DELETE FROM readings WHERE value = 22")
            connection.execute("INSERT INTO readings (sensor, value) VALUES ('s', 23)")
            connection.execute("INSERT INTO readings (sensor, value) VALUES ('s', 24)")
            connection.commit()
        follower.expect('"value":24,"more":null}\n')
        for suffix in ("-wal", "-shm", ""):  # as a damaged file is set aside
            old = Path(f"{database}{suffix}")
            if old.exists():
                old.rename(f"{database}.corrupt{suffix}")
        store(database, 1)
        follower.expect('"value":1}\n')


def test_following_goes_over_to_the_next_day(tmp_path: Path) -> None:
    store(tmp_path / "logs-2026-01-01.db", 1)
    with following(tmp_path / "logs-%Y-%m-%d.db") as follower:
        follower.expect("value=1\n")
        store(tmp_path / "logs-2026-01-01.db", 2)
        store(tmp_path / "logs-2026-01-02.db", 3)
        follower.expect("sensor=s  value=2\nsensor=s  value=3\n")


def day(folder: Path, days: int = 0) -> Path:
    return folder / f"logs-{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}.db"


@pytest.mark.parametrize("pattern", ["logs-%Y-%m-%d.db", "%"])
def test_a_writer_that_closes_the_file_again_and_again_does_not_make_a_follower_deaf(
    tmp_path: Path, pattern: str
) -> None:
    path = day(tmp_path)
    store(path, 1)
    with following(path if pattern == "%" else tmp_path / pattern, "-n1") as follower:
        follower.expect("value=1\n")
        for n in range(2, 6):
            store(path, n)
            follower.expect(f"value={n}\n")


def test_a_log_that_is_removed_does_not_make_a_follower_deaf_nor_repeat_itself(tmp_path: Path) -> None:
    """As by a writer that ends and does not see the follower's locks."""
    path = tmp_path / "streamd.db"
    store(path, 1)
    with following(path, "-n1") as follower:
        follower.expect("value=1\n")
        for n in range(2, 5):
            store(path, n)
            follower.expect(f"value={n}\n")
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint")
            for suffix in ("-wal", "-shm"):
                path.with_name(f"{path.name}{suffix}").unlink()
        store(path, "end")
        follower.expect("value=end\n")
        assert follower.before == "sensor=s  "


def test_the_present_is_followed_over_a_change_of_file_and_not_a_file_of_the_future(tmp_path: Path) -> None:
    store(day(tmp_path, 1500), 99)
    with following(tmp_path / "logs-%Y-%m-%d.db", "-n2") as follower:
        follower.expect("has a date in the future", "err")
        follower.expect("value=99\n")  # there is nothing else
        store(day(tmp_path, -1), 1)
        follower.expect("value=1\n")
        store(day(tmp_path), 2)
        follower.expect("value=2\n")
        store(day(tmp_path, 1500), 100)
        store(day(tmp_path), 3)
        follower.expect("value=3\n")
        assert follower.before == "sensor=s  "


def test_the_newest_are_those_of_the_present(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(day(tmp_path, 1500), 99)
    store(day(tmp_path), 1)
    assert tail(tmp_path / "logs-%Y-%m-%d.db", "-n5", "--json") == 0
    assert values(capsys) == [1]
