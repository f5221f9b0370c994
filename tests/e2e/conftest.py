"""A real daemon in a process of its own, on ports the system chose, and its books read from its ledger."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.preloaded import Preloaded, Process, preloaded

DEADLINE_S = 60.0
FRAMES = ("decoded", "rejected", "dropped", "held", "waiting")
RECORDS = ("out", "filtered", "absorbed", "rejected", "dropped", "in_flight")
DELIVERIES = ("stored", "unmatched", "left_out", "rejected", "dropped", "pending")

CATCH_ALL = """
[admin]
listen = "127.0.0.1:0"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
framing = "auto"
[pipelines.main]
sources = ["lab", "floor"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""


def until(condition: Callable[[], Any], what: str = "the condition", deadline_s: float = DEADLINE_S) -> Any:
    """Poll another process's state until it is so; fail, saying what was awaited, when it never is."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"still waiting for {what} after {deadline_s} s")


class Daemon:
    """One run of `streamd run` in `folder`; its state is in `folder/var`."""

    def __init__(
        self, folder: Path, config: str, *prefix: str, env: dict[str, str] | None = None, copied: bool = True
    ) -> None:
        self.folder = folder
        self.config = folder / "streamd.toml"
        self.config.write_text(config)
        self.log_path = folder / f"stderr-{time.monotonic_ns()}.log"
        arguments = ["run", "--config", str(self.config)]
        variables = {**os.environ, **(env or {})}
        self.process: subprocess.Popen[bytes] | Process
        with self.log_path.open("wb") as stderr:
            if copied and not prefix and Preloaded.takes(env or {}):
                self.process = preloaded().start(arguments, folder, variables, stderr)
            else:
                command = [*prefix, sys.executable, "-W", "error", "-m", "streamd", *arguments]
                self.process = subprocess.Popen(command, cwd=folder, stderr=stderr, env=variables)

    @property
    def stderr(self) -> str:
        return self.log_path.read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log lines of one event. Every line that begins an object has to be one."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("{") and line.endswith("}")]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def wait_ready(self) -> "Daemon":
        until(lambda: self.events("ready") or self.process.poll() is not None, "ready")
        assert self.process.poll() is None, self.stderr
        return self

    def address(self, source: str) -> tuple[str, int]:
        listening = {event.get("source"): event["address"] for event in self.events("listening")}
        host, _, port = listening[source].rpartition(":")
        return host.strip("[]"), int(port)

    def admin(self) -> str:
        event = until(lambda: self.events("admin_listening"), "the admin address")[0]
        return f"http://{event['address']}"

    def control(self, method: str, target: str) -> tuple[int, str]:
        """What the control socket answers: the code and the text."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(DEADLINE_S)
            sock.connect(str(self.folder / "var" / "control.sock"))
            sock.sendall(f"{method} {target} HTTP/1.0\r\n\r\n".encode())
            answer = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.split()[1]), body

    def udp(self, *payloads: bytes, source: str = "lab", bind: str | None = None) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            if bind:
                sock.bind((bind, 0))
            sock.connect(self.address(source))
            for payload in payloads:
                sock.send(payload)

    def tcp(self, data: bytes, source: str = "floor") -> None:
        with socket.create_connection(self.address(source), timeout=30) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""

    def query(self, sql: str, db: str = "streamd.db") -> list[Any]:
        path = self.folder / "var" / db
        if not path.exists():
            return []
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
        finally:
            connection.close()

    def wait_rows(self, count: int, table: str = "records", db: str = "streamd.db") -> None:
        def there() -> bool:
            rows = self.query(f"SELECT count(*) FROM {table}", db)  # noqa: S608 - a test's own names
            return bool(rows) and rows[0][0] >= count

        until(there, f"{count} rows in {table}; {self.stderr[-2000:]}")

    def stop(self, expect: int = 0) -> None:
        """SIGTERM, the exit code expected, and books that balance."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(DEADLINE_S)
        assert code == expect, (code, self.stderr[-4000:])
        self.assert_balanced()

    def books(self, db: str = "streamd.db") -> Counter[tuple[str, str, str, str]]:
        """Sums of the newest run's ledger by (source, pipeline, sink, counter), reasons added up."""
        rows = self.query(
            "SELECT source, pipeline, sink, counter, sum(n) FROM ledger WHERE run_id ="
            " (SELECT run_id FROM ledger WHERE counter = 'start' ORDER BY at DESC LIMIT 1)"
            " AND source <> '' GROUP BY 1, 2, 3, 4",
            db,
        )
        return Counter({(source, pipe, sink, counter): n or 0 for source, pipe, sink, counter, n in rows})

    def reasons(self, counter: str, source: str | None = None) -> dict[str, int]:
        """One counter of the newest run by its reason or stage."""
        rows = self.query(
            f"SELECT reason, sum(n) FROM ledger WHERE counter = '{counter}'"  # noqa: S608
            + (f" AND source = '{source}'" if source else "")
            + " AND run_id = (SELECT run_id FROM ledger WHERE counter = 'start' ORDER BY at DESC LIMIT 1)"
            " GROUP BY 1"
        )
        return dict(rows)

    def dead_letters(self, source: str) -> list[tuple[str, str, Any]]:
        """Stage, reason and payload of each dead letter of a source, in order."""
        return self.query(
            f"SELECT stage, reason, payload FROM dead_letters WHERE source = '{source}' ORDER BY id",  # noqa: S608
            "dead-letters.db",
        )

    @property
    def peak_bytes(self) -> int:
        """The most memory this process has ever had resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    def assert_balanced(self) -> None:
        """The three sums hold, and nothing is left anywhere."""
        books = self.books()
        assert books, self.stderr
        for source, pipeline, sink in {key[:3] for key in books}:
            total = {
                counter: books[source, pipeline, sink, counter]
                for counter in ("received", "in", "emitted", "offered", *FRAMES, *RECORDS, *DELIVERIES)
            }
            if sink:
                assert total["offered"] == sum(total[c] for c in DELIVERIES), (source, sink, total)
                assert total["pending"] == 0, total
            elif pipeline:
                assert total["in"] + total["emitted"] == sum(total[c] for c in RECORDS), (source, total)
                assert total["in_flight"] == 0, total
            else:
                assert total["received"] == sum(total[c] for c in FRAMES), (source, total)
                assert total["waiting"] == total["held"] == 0, total
        assert "books balance" in self.stderr


def starter(folder: Path) -> Iterator[Callable[..., Daemon]]:
    """A function that starts daemons in `folder` and waits until they are ready; none is left behind."""
    started: list[Daemon] = []

    def begin(
        config: str = CATCH_ALL, *prefix: str, ready: bool = True, copied: bool = True, **env: str
    ) -> Daemon:
        daemon = Daemon(folder, config, *prefix, env=env, copied=copied)
        started.append(daemon)
        return daemon.wait_ready() if ready else daemon

    yield begin
    for daemon in started:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons in a folder of the test's own."""
    yield from starter(tmp_path)


@pytest.fixture(scope="module")
def start_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons in a folder of the module's own, for a run whose outcome many tests look at."""
    yield from starter(tmp_path_factory.mktemp("daemon"))


@pytest.fixture
def start_in(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons in folders beside each other, named first."""
    with contextlib.ExitStack() as stack:

        def begin(name: str, *arguments: Any, **more: Any) -> Daemon:
            (tmp_path / name).mkdir(exist_ok=True)
            start: Any = stack.enter_context(contextlib.contextmanager(starter)(tmp_path / name))
            daemon: Daemon = start(*arguments, **more)
            return daemon

        yield begin


@pytest.fixture
def catch_all() -> str:
    return CATCH_ALL


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    return until


@pytest.fixture(scope="session")
def stays() -> Callable[[Callable[[], bool], float], None]:
    """Shows for a time that something does not happen."""

    def check(condition: Callable[[], bool], for_s: float) -> None:
        end_s = time.monotonic() + for_s
        while time.monotonic() < end_s:
            assert condition()
            time.sleep(0.02)
        assert condition()

    return check


@pytest.fixture(scope="session")
def pace() -> Callable[[float], None]:
    """Time that a sender, or whoever sends a signal, lets pass between two things."""

    def pace(seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    return pace
