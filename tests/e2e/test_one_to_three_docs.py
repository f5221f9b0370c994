"""The guide from one machine to three, typed step by step against real servers.

Each machine is a folder. The addresses of the guide stand for those that the test's servers and daemons have:
10.0.0.1:9999 is the edge, 10.0.0.2:4222 the NATS server and 10.0.0.2:5432 PostgreSQL. What the guide does by
the program `nats`, a request to the server does here.
"""

import asyncio
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nats_server import NatsServer, api, needs_server
from tests.postgresql_server import PostgresqlServer, needs_postgresql

pytestmark = [needs_server, needs_postgresql]

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/how-to/one-to-three.md").read_text()
STREAMD = f"{shlex.quote(sys.executable)} -m streamd"
MORE = '\n[admin]\nlisten = "none"\n[ledger]\ninterval = "0.5s"\n'
FILES = re.findall(r"^```\w*\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
ONE, NATS_CONF, ADMITTED = FILES
BLOCKS = [re.sub(r"(?m)^    ", "", block) for block in re.findall(r"(?:^    .*\n)+", TEXT, re.MULTILINE)]


def typed() -> Iterator[tuple[str, list[list[str]]]]:
    """Each command of the guide, and the cells of the table that it shows behind it."""
    for block, after in zip(BLOCKS, [*BLOCKS[1:], ""], strict=True):
        commands = re.split(r"(?m)^\$ ", block)[1:]
        for command in commands:
            is_last = command is commands[-1]
            yield command.strip(), cells(after) if is_last and not after.startswith("$ ") else []


def cells(output: str) -> list[list[str]]:
    """The rows of a table of streamd or psql."""
    lines = [line.strip() for line in output.splitlines()]
    return [
        re.split(r"\s*\|\s*|\t|  +", line) for line in lines if line and not re.fullmatch(r"[-+ ]+", line)
    ]


class Reader:
    """Types the commands of the guide one after the other, each on one or several machines."""

    def __init__(self, folder: Path, start_in: Callable[..., Any], server: PostgresqlServer) -> None:
        self._folder = folder
        self._start_in = start_in
        self._postgresql = server
        self._left = list(typed())
        self.running: dict[int, Any] = {}
        self.addresses = {"10.0.0.1:9999": "127.0.0.1:0", "10.0.0.2:5432": server.address}
        for number in (1, 2, 3):
            self.machine(number).mkdir()

    def machine(self, number: int) -> Path:
        return self._folder / f"machine{number}"

    def saves(self, number: int, name: str, text: str) -> None:
        (self.machine(number) / name).write_text(text)

    def starts(self, *machines: int) -> None:
        """`streamd run` on each of these machines, in place of a daemon that runs there."""
        command, _ = self._left.pop(0)
        (name,) = re.fullmatch(r"bin/streamd run --config (\S+)", command).groups()  # type: ignore[union-attr]
        for number in machines:
            self.stops(number)
            text = self._here((self.machine(number) / name).read_text())
            self.saves(number, name, text)
            self.running[number] = self._start_in(f"machine{number}", text + MORE)

    def stops(self, *machines: int) -> None:
        """The daemons end, and their books balance."""
        for number in machines:
            if number in self.running:
                self.running.pop(number).stop()

    def types(self, begin: str, *machines: int) -> list[list[list[str]]]:
        """What the next command, which begins so, prints on each of these machines."""
        command, _ = self._left.pop(0)
        return self.types_again(begin, command, *machines)

    def types_again(self, begin: str, command: str, *machines: int) -> list[list[list[str]]]:
        assert command.startswith(begin)
        psql = f"{self._postgresql.programs}/psql -X -U postgres -h {self._postgresql.folder}"
        for old, new in {
            "bin/streamd": STREAMD, " config/": f" {shlex.quote(str(ROOT))}/config/",
            "sudo -u postgres psql": f"{psql} -p {self._postgresql.port}",
        }.items():  # fmt: skip
            command = command.replace(old, new)
        command = command if begin == "sed" else self._here(command)
        return [cells(self._run(command, self.machine(number))) for number in machines]

    def sees(self, begin: str, machine: int, wait_until: Callable[..., Any]) -> None:
        """The next command prints what the guide shows, at the latest after a while."""
        command, shown = self._left.pop(0)
        assert shown
        wait_until(lambda: self.types_again(begin, command, machine) == [shown], f"{command}: {shown}")

    def skips(self, command: str) -> None:
        assert self._left.pop(0)[0] == command

    def next_is(self) -> str:
        return self._left[0][0]

    @property
    def is_done(self) -> bool:
        return not self._left

    def _here(self, text: str) -> str:
        for address, here in self.addresses.items():
            text = text.replace(address, here)
        return text

    @staticmethod
    def _run(command: str, folder: Path) -> str:
        done = subprocess.run(
            ["sh", "-c", command], cwd=folder, capture_output=True, text=True, timeout=60, check=False,
            env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), command
        return done.stdout


@pytest.fixture
def server() -> Iterator[PostgresqlServer]:
    server = PostgresqlServer()
    yield server
    server.remove()


@pytest.fixture
def start_nats(tmp_path: Path) -> Iterator[Callable[[str], NatsServer]]:
    """Starts a NATS server with the lines of a configuration; its files are in a folder of the test."""
    started: list[NatsServer] = []

    def begin(text: str) -> NatsServer:
        assert text.count('store_dir: "') == 1
        lines = [line for line in text.splitlines() if not line.startswith("listen: 10.0.0.2:4222")]
        assert len(lines) == text.count("\n") - 1
        more = "\n".join(lines).replace('store_dir: "', f'store_dir: "{tmp_path}/')
        started.append(NatsServer(tmp_path / "nats", more))
        return started[-1]

    yield begin
    for one in started:
        one.stop()


def admit(server: PostgresqlServer) -> None:
    """The line of the guide is the only one that admits its role, which must show its password."""
    rules = server.data / "pg_hba.conf"
    rules.write_text(ADMITTED.replace("10.0.0.0/24", "127.0.0.1/32") + "local all postgres trust\n")
    assert server.query("SELECT pg_reload_conf()") == [(True,)]


def test_the_guide(
    tmp_path: Path,
    start_in: Callable[..., Any],
    start_nats: Callable[[str], NatsServer],
    server: PostgresqlServer,
    wait_until: Callable[..., Any],
) -> None:
    reader = Reader(tmp_path, start_in, server)
    reader.saves(1, "one.toml", ONE)
    reader.starts(1)
    edge = reader.addresses["10.0.0.1:9999"] = "{}:{}".format(*reader.running[1].address("readings"))
    reader.types("bin/streamd send", 1)
    reader.sees("bin/streamd query", 1, wait_until)

    reader.skips("nats-server -c nats.conf")
    nats = start_nats(NATS_CONF)
    reader.addresses["10.0.0.2:4222"] = nats.address
    reader.types("sed", 1)
    reader.starts(1)
    assert reader.running[1].address("readings") == (edge.rpartition(":")[0], int(edge.rpartition(":")[2]))
    reader.types("bin/streamd send", 1)

    reader.types("sed", 2)
    reader.starts(2)
    reader.types("sed", 3)
    reader.starts(3)
    asked = reader.next_is()

    def counted() -> int:
        answers = reader.types_again("bin/streamd query", asked, 2, 3)
        return sum(int(answer[-1][0]) for answer in answers)

    wait_until(lambda: counted() == 3000, "all readings in two files")
    reader.skips(asked)

    assert reader.types("sudo -u postgres psql", 2) == [[["CREATE ROLE"]]]
    assert reader.types("sudo -u postgres psql", 2) == [[["CREATE DATABASE"]]]
    admit(server)
    reader.types("install", 2, 3)
    reader.types("printf", 2, 3)
    asked = reader.next_is()

    def waiting() -> set[str]:
        answers = reader.types_again("bin/streamd status", asked, 2, 3)
        return {line[0].rstrip(",") for answer in answers for line in answer}

    wait_until(lambda: waiting() == {'"num_pending": 0', '"num_ack_pending": 0'}, "a stream that is read")
    reader.skips(asked)
    reader.stops(2, 3)
    reader.types("bin/streamd send", 1)
    reader.skips("nats --server 10.0.0.2:4222 consumer rm readings workers --force")
    assert asyncio.run(api(nats, "CONSUMER.DELETE.readings.workers"))["success"]
    reader.types("sed", 2, 3)
    reader.starts(2, 3)
    reader.sees("sudo -u postgres psql", 2, wait_until)

    reader.types("bin/streamd query --db var/readings.db", 1, 2, 3)
    reader.sees("sudo -u postgres psql", 2, wait_until)
    assert reader.is_done
    reader.stops(1, 2, 3)
    with server.connect("plant") as connection:
        rows = connection.execute("SELECT seq, count(*) FROM readings GROUP BY seq ORDER BY seq").fetchall()
    assert rows == [(n, 1 + (n <= 1000) + (n <= 3000)) for n in range(1, 5001)]


def test_the_examples_of_workers_read_what_the_example_of_the_edge_writes() -> None:
    edge = tomllib.loads((ROOT / "config/edge.toml").read_text())["sinks"]["jetstream"]
    exact = tomllib.loads((ROOT / "config/exact-worker.toml").read_text())
    for key in ("stream", "subject", "partitions"):
        assert exact["sources"]["readings"][key] == edge[key]
    other = tomllib.loads((ROOT / "config/worker.toml").read_text())
    assert exact["sinks"]["readings"]["columns"] == other["sinks"]["readings"]["columns"]
