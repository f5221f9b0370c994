"""Replays that meet trouble: a sink that is taken or absent, a reader of standard output, an end by force."""

import asyncio
import json
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamd.config import DeadLetterSettings
from streamd.core.dead_letter import DeadLetter
from streamd.dead_letters.dead_letters import DeadLetters
from streamd.sqlite.databases import Databases

EIGHT = 1_769_846_400.0
"""2026-01-31T08:00:00Z"""
HEAD = """
[admin]
listen = "none"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["floor"]
sinks = ["db", "other"]
[sinks.db]
type = "sqlite"
path = "streamd.db"
table = "db"
columns = { id = "int" }
unique = ["id"]
"""
FILE = HEAD + '[sinks.other]\ntype = "file"\npath = "out.ndjson"\n'
STDOUT = HEAD + '[sinks.other]\ntype = "stdout"\n'


def keep(folder: Path, *letters: DeadLetter) -> None:
    async def commit() -> None:
        store = DeadLetters(folder / "var" / "dead-letters.db", DeadLetterSettings(), Databases())
        await store.open()
        await store.commit(list(letters))
        await store.close()

    asyncio.run(commit())


def frame(number: int, sink: str | None = None) -> DeadLetter:
    if sink is None:
        return DeadLetter(b'{"id":%d}' % number, "decode", "why", "", "floor", None, EIGHT, "main")
    return DeadLetter({"id": number}, "sink", "why", "", "floor", None, EIGHT, "main", sink)


class Replays:
    """Replays in `folder`, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begun: list[subprocess.Popen[str]] = []

    def begin(self, *more: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-W", "error", "-m", "streamd", "dead-letters", "replay", *more]
        run = subprocess.Popen(
            [*command, "--config", str(self.folder / "streamd.toml")],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.begun.append(run)
        return run

    def __call__(self, *more: str) -> tuple[int, str, str]:
        """One from its start to its end: exit code, standard output, standard error."""
        run = self.begin(*more)
        out, error = run.communicate(timeout=60)
        return run.returncode, out, error


@pytest.fixture
def replay(tmp_path: Path) -> Iterator[Replays]:
    """Makes replays; none is left behind."""
    replays = Replays(tmp_path)
    yield replays
    for run in replays.begun:
        with run:
            if run.poll() is None:
                run.kill()


def ask(folder: Path, sql: str, db: str = "streamd.db") -> list[Any]:
    path = folder / "var" / db
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise


def stored(folder: Path) -> list[int]:
    return [number for (number,) in ask(folder, "SELECT id FROM db ORDER BY id")]


def letters(folder: Path) -> list[int]:
    return [number for (number,) in ask(folder, "SELECT id FROM dead_letters ORDER BY id", "dead-letters.db")]


def test_a_file_that_a_daemon_writes_keeps_only_its_own_letters(
    start: Callable[..., Any], replay: Replays, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    keep(tmp_path, frame(1), frame(2, "other"), frame(3, "db"))
    daemon = start(FILE)
    daemon.tcp(b'{"id":10}\n')
    out = tmp_path / "var" / "out.ndjson"
    wait_until(lambda: out.read_bytes() == b'{"id":10}\n', "the daemon's own line")
    code, said, _ = replay()
    assert code == 1
    assert said.splitlines() == [
        "3 dead letters:",
        "  1 stored, and no longer in the dead letters",
        f"  2 cannot be replayed: sink other: locked: {out} is being written by another sink or daemon",
    ]
    assert letters(tmp_path) == [1, 2]
    wait_until(lambda: stored(tmp_path) == [3, 10], "the row of the other sink")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(60) == 0
    assert out.read_bytes() == b'{"id":10}\n', "not a byte of a replay among the daemon's"
    assert replay()[0] == 0
    assert letters(tmp_path) == []
    assert stored(tmp_path) == [1, 3, 10]
    assert sorted(json.loads(line)["id"] for line in out.read_text().splitlines()) == [1, 2, 10]


def test_standard_output_has_records_only_where_a_sink_prints_them(replay: Replays, tmp_path: Path) -> None:
    (tmp_path / "streamd.toml").write_text(STDOUT)
    keep(tmp_path, frame(1), frame(2, "other"), DeadLetter(b"{", "decode", "why", "", "floor"))
    code, out, error = replay("--json")
    assert code == 1
    assert [json.loads(line) for line in out.splitlines()] == [{"id": 1}, {"id": 2}]
    summary = json.loads(error.splitlines()[-1])
    assert (summary["letters"], summary["stored"], summary["rejected"]) == (3, 2, 1)
    code, out, error = replay("--json", "--reason", "none")
    assert (code, out) == (0, ""), "where the outcome stands does not depend on the letters"
    assert json.loads(error)["letters"] == 0


@pytest.fixture
def absent() -> Iterator[socket.socket]:
    """Has an address at which nobody listens, and that nobody else can get."""
    with socket.socket() as peer:
        peer.bind(("127.0.0.1", 0))
        yield peer


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_a_replay_whose_peer_is_absent(
    number: signal.Signals,
    absent: socket.socket,
    replay: Replays,
    tmp_path: Path,
    wait_until: Callable[..., Any],
) -> None:
    address = f"127.0.0.1:{absent.getsockname()[1]}"
    config = HEAD + f'[sinks.other]\ntype = "tcp"\naddress = "{address}"\n'
    (tmp_path / "streamd.toml").write_text(config)
    keep(tmp_path, frame(1, "db"), *(frame(n) for n in range(2, 5)), frame(5, "other"))
    run = replay.begin()
    wait_until(lambda: stored(tmp_path) == [1, 2, 3, 4], "what the other sink can store")
    run.send_signal(number)
    out, error = run.communicate(timeout=20)
    assert run.returncode == 1, error
    assert out.splitlines() == [
        "5 dead letters:",
        "  1 stored, and no longer in the dead letters",
        "  3 not stored in every sink: still in the dead letters",
        "  1 not reached: still in the dead letters",
    ]
    assert letters(tmp_path) == [2, 3, 4, 5]
    ledger = ask(
        tmp_path,
        "SELECT sink, counter, reason, sum(n) FROM ledger WHERE sink <> '' AND n <> 0 GROUP BY 1, 2, 3",
    )
    assert {row for row in ledger if row[0] == "other" and row[3]} == {
        ("other", "offered", "", 4), ("other", "unmatched", "", 1), ("other", "dropped", "shutdown", 3),
    }  # fmt: skip
    assert ask(tmp_path, "SELECT counter FROM ledger WHERE counter IN ('stop', 'unclean')") == [("stop",)]

    absent.listen()
    again = replay.begin()
    peer, _ = absent.accept()
    with peer, peer.makefile("rb") as lines:
        received = sorted(json.loads(line)["id"] for line in lines)
    out, error = again.communicate(timeout=60)
    assert again.returncode == 0, error
    assert received == [2, 3, 4, 5]
    assert stored(tmp_path) == [1, 2, 3, 4], "unique: in the place of the first"
    assert letters(tmp_path) == []


def test_what_a_peer_may_not_have_read_is_told(
    absent: socket.socket, replay: Replays, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{absent.getsockname()[1]}"
    config = HEAD + f'[sinks.other]\ntype = "tcp"\naddress = "{address}"\n'
    (tmp_path / "streamd.toml").write_text(config)
    keep(tmp_path, frame(1, "other"))
    absent.listen()
    run = replay.begin("--json")
    peer, _ = absent.accept()
    assert peer.recv(1000) == b'{"id":1}\n'
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()  # with a reset, as a peer that dies
    out, error = run.communicate(timeout=60)
    assert run.returncode == 0, error
    outcome = json.loads(out)
    assert (outcome["stored"], outcome["unconfirmed"]) == (1, 1)
    counted = ask(tmp_path, "SELECT sink, sum(n) FROM ledger WHERE counter = 'unconfirmed' GROUP BY 1")
    assert counted == [("other", 1)]
