"""A sink that hangs makes `/readyz` bad before anything is full, and good again when it goes on."""

import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SOON_S = 30.0
"""An idle host needs less than two seconds, one that tests in parallel may stand still for some. The reason
that is asserted tells a sink that hangs from a buffer that was full for too long."""
STUCK = {
    "sqlite": '[sinks.stuck]\ntype = "sqlite"\npath = "stuck.db"',
    "tcp": '[sinks.stuck]\ntype = "tcp"\naddress = "ADDRESS"',
}
CONFIG = """
[admin]
listen = "127.0.0.1:0"
[daemon]
drain_timeout = "60s"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
[pipelines.main]
sources = ["floor"]
sinks = ["stuck"]
"""
HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def readyz(daemon: Any) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"{daemon.admin()}/readyz", timeout=30) as answer:  # noqa: S310 - its own address
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def writing_s(daemon: Any) -> float:
    """The age of the write under way, as `/metrics` shows it."""
    with urllib.request.urlopen(f"{daemon.admin()}/metrics", timeout=30) as answer:  # noqa: S310 - its own address
        found = re.search(
            r'^streamd_sink_writing_seconds\{sink="stuck"\} (\S+)', answer.read().decode(), re.MULTILINE
        )
    assert found
    return float(found[1])


def assert_turns_bad(daemon: Any, wait_until: Callable[..., Any], reason: str, since_s: float) -> None:
    """`/readyz` names the sink soon after `since_s`, while the queue before it has plenty of room."""
    wait_until(lambda: readyz(daemon)[0] == 503, "a daemon that is not ready")
    assert time.monotonic() - since_s < SOON_S
    assert re.fullmatch(reason, readyz(daemon)[1].strip())
    assert writing_s(daemon) > 1
    assert readyz(daemon)[1].count("\n") == 1


def assert_turns_good(daemon: Any, wait_until: Callable[..., Any]) -> None:
    wait_until(lambda: readyz(daemon) == (200, "ready\n"), "a daemon that is ready")
    wait_until(lambda: writing_s(daemon) == 0, "no write under way")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process has a write under way in the database."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        yield
        holder.communicate("")


def test_a_database_that_another_process_locks(start: Any, wait_until: Callable[..., Any]) -> None:
    daemon = start(CONFIG + STUCK["sqlite"])
    daemon.tcp(b'{"n":0}\n')
    daemon.wait_rows(1, db="stuck.db")
    assert readyz(daemon) == (200, "ready\n")
    with locked(daemon.folder / "var" / "stuck.db"):
        began_s = time.monotonic()
        daemon.tcp(b'{"n":1}\n')
        wait_until(lambda: daemon.events("sink_retrying"), "a retry")
        assert_turns_bad(daemon, wait_until, r"sink stuck has been retrying for \d+ s: locked", began_s)
    daemon.wait_rows(2, db="stuck.db")
    assert_turns_good(daemon, wait_until)
    daemon.stop()
    assert daemon.books()["floor", "main", "stuck", "stored"] == 2


def test_a_sink_that_is_full_is_foretold_and_shown(start: Any, wait_until: Callable[..., Any]) -> None:
    small = "buffer = { max_records = 1000 }\nbatch = { max_records = 10 }"
    daemon = start(f"{CONFIG}{STUCK['sqlite']}\n{small}")
    daemon.tcp(b'{"n":0}\n')
    daemon.wait_rows(1, db="stuck.db")
    command = [sys.executable, "-m", "streamd", "status", "--config", str(daemon.config)]

    def shown() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=daemon.folder).stdout

    assert "sink stuck:" not in shown()
    with locked(daemon.folder / "var" / "stuck.db"):
        sender = threading.Thread(target=daemon.tcp, args=(b'{"n":1}\n' * 5000,), daemon=True)
        sender.start()
        wait_until(lambda: daemon.events("overflow_expected"), "the event")
        wait_until(lambda: "\n  sink stuck: its buffer is full" in shown(), "the line of streamd status")
    sender.join(60)
    daemon.wait_rows(5001, db="stuck.db")
    wait_until(lambda: daemon.events("overflow_no_longer_expected"), "its end")
    assert "sink stuck: its buffer" not in shown()
    daemon.stop()
    assert {"sink": "stuck"}.items() <= daemon.events("overflow_expected")[0].items()
    assert daemon.books()["floor", "main", "stuck", "stored"] == 5001


def test_a_disk_that_does_not_answer(start: Any, wait_until: Callable[..., Any]) -> None:
    daemon = start(CONFIG + STUCK["sqlite"], STREAMD_FAILPOINT="sqlite.commit@stuck.db:hang:6")
    began_s = time.monotonic()
    daemon.tcp(b'{"n":1}\n')
    assert_turns_bad(daemon, wait_until, r"a write of sink stuck has hung for \d+ s", began_s)
    wait_until(lambda: daemon.events("sink_hangs"), "the event")
    daemon.wait_rows(1, db="stuck.db")
    assert_turns_good(daemon, wait_until)
    wait_until(lambda: daemon.events("sink_recovered"), "its end")
    daemon.stop()
    assert [event["sink"] for event in daemon.events("sink_hangs")] == ["stuck"]
    assert [event["after"] for event in daemon.events("sink_recovered")] == ["hung"]
    assert daemon.books()["floor", "main", "stuck", "stored"] == 1


def test_a_receiver_that_stops_reading(start: Any, wait_until: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        address = "{}:{}".format(*server.getsockname())
        daemon = start(CONFIG + STUCK["tcp"].replace("ADDRESS", address))
        began_s = time.monotonic()
        data = b"".join(b'{"n":%d,"fill":"%s"}\n' % (n, b"x" * 4000) for n in range(3000))
        sender = threading.Thread(target=daemon.tcp, args=(data,), daemon=True)
        sender.start()
        receiver, _ = server.accept()
        assert_turns_bad(daemon, wait_until, r"a write of sink stuck has hung for \d+ s", began_s)
        with receiver, receiver.makefile("rb") as lines:
            received = [json.loads(lines.readline())["n"] for _ in range(3000)]
            assert_turns_good(daemon, wait_until)
            sender.join(60)
            closing = threading.Thread(target=lines.read, daemon=True)  # so that the end is confirmed
            closing.start()
            daemon.stop()
    assert received == list(range(3000))
    assert daemon.books()["floor", "main", "stuck", "stored"] == 3000
