"""Where the time goes: which stage is busy, blocked or idle while another one is slow."""

import json
import re
import socket
import sqlite3
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[daemon]
max_batch = 16
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
buffer = { max_records = 50 }
[pipelines.main]
sources = ["floor"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
buffer = { max_records = 50 }
batch = { max_records = 10 }
"""
STEP = 'steps = [{ type = "python", function = "steps.py:step", mode = "batch", executor = "EXECUTOR" }]'
NAP_S = 0.02


def stages(daemon: Any) -> dict[str, Any]:
    """By kind; each sum is that of the stage's own elapsed time."""
    code, body = daemon.control("GET", "/status")
    assert code == 200
    document = json.loads(body)
    for stage in document["stages"]:
        assert sum(stage[f"{state}_s"] for state in ("busy", "blocked", "idle")) == pytest.approx(
            stage["elapsed_s"], abs=1e-5
        )
        assert -30 < stage["elapsed_s"] - document["uptime_s"] < 0.5  # it begins later
        recent = stage["recent"]
        assert recent["busy"] + recent["blocked"] + recent["idle"] == pytest.approx(1.0, abs=0.001)
    return {stage["kind"]: stage for stage in document["stages"]}


def scraped(daemon: Any, name: str) -> dict[tuple[str, ...], float]:
    with urllib.request.urlopen(f"{daemon.admin()}/metrics", timeout=30) as answer:  # noqa: S310 - its own address
        text = answer.read().decode()
    found = re.findall(rf"^{name}{{(.*)}} (\S+)$", text, re.MULTILINE)
    return {tuple(re.findall(r'="([^"]*)"', labels)): float(value) for labels, value in found}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another connection has a write under way in the database."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


@contextmanager
def sending(daemon: Any, count: int) -> Iterator[None]:
    """Lines on their way over one connection, which ends once the daemon has read them."""
    data = b"".join(b'{"n":%d,"fill":"%s"}\n' % (n, b"x" * 500) for n in range(count))

    def send() -> None:
        with socket.create_connection(daemon.address("floor"), timeout=60) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        yield
    finally:
        sender.join(60)
    assert not sender.is_alive()


def test_a_locked_database_shows_a_blocked_sink_and_all_before_it_wait(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    daemon = start(CONFIG)
    daemon.tcp(b'{"n":0}\n')
    daemon.wait_rows(1)
    with sending(daemon, 20_000):
        with locked(tmp_path / "var/streamd.db"):
            wait_until(lambda: {stage["state"] for stage in stages(daemon).values()} == {"blocked"})
            before, since_s = stages(daemon), time.monotonic()
            wait_until(lambda: stages(daemon)["workers"]["blocked_s"] > before["workers"]["blocked_s"] + 0.5)
            after = stages(daemon)
            lasted_s = time.monotonic() - since_s
        for kind in ("source", "workers", "sink"):
            assert after[kind]["state"] == "blocked"
            grown_s = after[kind]["blocked_s"] - before[kind]["blocked_s"]
            assert 0.4 < grown_s <= lasted_s + 0.1, kind
            assert after[kind]["busy_s"] == before[kind]["busy_s"], kind
        assert before["sink"]["out"] == after["sink"]["out"] < 20_001
        wait_until(lambda: stages(daemon)["sink"]["out"] == 20_001)
    ended = stages(daemon)
    assert {kind: (stage["in"], stage["out"]) for kind, stage in ended.items()} == dict.fromkeys(
        ("source", "workers", "sink"), (20_001, 20_001)
    )
    assert all(stage["state"] == "idle" for stage in ended.values())
    assert ended["sink"]["busy_s"] > after["sink"]["busy_s"]
    daemon.stop()
    daemon.assert_balanced()


@pytest.mark.parametrize(("executor", "head", "nap"), [
    ("thread", "def step(records):", "time.sleep"),
    ("process", "def step(records):", "time.sleep"),
    ("inline", "async def step(records):", "await asyncio.sleep"),
])  # fmt: skip
def test_a_slow_step_that_waits_is_busy_and_the_workers_before_it_are_blocked(
    start: Callable[..., Any], tmp_path: Path, executor: str, head: str, nap: str
) -> None:
    (tmp_path / "steps.py").write_text(
        f"import asyncio, time\n{head}\n    {nap}({NAP_S})\n    return [r for r in records if r['n'] % 2]\n"
    )
    step = STEP.replace("EXECUTOR", executor)
    daemon = start(CONFIG.replace('sources = ["floor"]', f'sources = ["floor"]\n{step}'))
    with sending(daemon, 1600):  # a hundred batches, or more
        pass
    daemon.wait_rows(800)
    found = stages(daemon)
    assert (found["step"]["in"], found["step"]["out"]) == (1600, 800)
    assert (found["workers"]["in"], found["workers"]["out"]) == (1600, 800)
    assert found["step"]["busy_s"] > found["workers"]["blocked_s"] > 50 * NAP_S / 4
    assert found["step"]["busy_s"] > 4 * (found["workers"]["busy_s"] + found["step"]["blocked_s"])
    assert found["source"]["blocked_s"] > 0
    assert found["step"]["name"] == "main.python[0]"
    assert found["step"]["under_way"] == 0
    times = scraped(daemon, "streamd_stage_seconds_total")
    assert times["step", "main.python[0]", "busy"] == pytest.approx(found["step"]["busy_s"], abs=0.001)
    assert scraped(daemon, "streamd_stage_out_total")["step", "main.python[0]"] == 800
    daemon.stop()
    daemon.assert_balanced()


def test_a_slow_step_that_does_not_wait_is_the_workers_own_time(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "steps.py").write_text(
        f"import time\ndef step(records):\n    time.sleep({NAP_S})\n    return records\n"
    )
    step = STEP.replace("EXECUTOR", "inline")
    daemon = start(CONFIG.replace('sources = ["floor"]', f'sources = ["floor"]\n{step}'))
    with sending(daemon, 800):
        pass
    daemon.wait_rows(800)
    found = stages(daemon)
    assert set(found) == {"source", "workers", "sink"}
    assert found["workers"]["busy_s"] > 50 * NAP_S
    assert found["workers"]["busy_s"] > 2 * found["workers"]["blocked_s"]
    daemon.stop()
    daemon.assert_balanced()


def test_a_reload_goes_on_counting_where_the_stage_stays_and_begins_anew_where_it_is_made_anew(
    start: Callable[..., Any],
) -> None:
    daemon = start(CONFIG)
    daemon.tcp(b'{"n":0}\n' * 100)
    daemon.wait_rows(100)
    before = stages(daemon)
    daemon.config.write_text(CONFIG.replace("max_records = 10 }", "max_records = 11 }"))
    code, _ = daemon.control("POST", "/reload")
    assert code == 200
    code, body = daemon.control("GET", "/status")
    after = {stage["kind"]: stage for stage in json.loads(body)["stages"]}
    for kind in ("source", "workers"):
        assert after[kind]["in"] == 100
        assert after[kind]["elapsed_s"] > before[kind]["elapsed_s"]
        assert after[kind]["busy_s"] >= before[kind]["busy_s"] > 0
    assert after["sink"]["in"] == 0
    assert after["sink"]["elapsed_s"] < before["sink"]["elapsed_s"]
    daemon.stop()
    daemon.assert_balanced()
