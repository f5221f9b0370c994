"""Records on their way from the edge through NATS JetStream to a worker, with the shipped configurations."""

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nats_server import NatsServer, needs_server

pytestmark = needs_server

CONFIG = Path(__file__).parents[2] / "config"
MORE = """
[admin]
listen = "127.0.0.1:0"
[ledger]
interval = "0.5s"
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    made = NatsServer(tmp_path / "nats")
    yield made
    made.stop()


def shipped(name: str, server: NatsServer) -> str:
    """A shipped configuration, on ports of the test."""
    text = (CONFIG / name).read_text()
    return text.replace("127.0.0.1:4222", server.address).replace("127.0.0.1:9999", "127.0.0.1:0") + MORE


def readings(start: int, stop: int) -> bytes:
    return b"".join(
        b'{"sensor":"s-%d","seq":%d,"value":%d}\n' % (n % 10, n, n % 100) for n in range(start, stop)
    )


def send(edge: Any, data: bytes) -> None:
    with socket.create_connection(edge.address("readings"), timeout=30) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""


def rows_of(worker: Any) -> list[int]:
    return [seq for (seq,) in worker.query("SELECT seq FROM readings ORDER BY seq", "readings.db")]


def test_every_record_of_the_edge_is_a_row_of_the_worker(
    start_in: Any, server: NatsServer, wait_until: Callable[..., Any]
) -> None:
    edge = start_in("edge", shipped("edge.toml", server))
    send(edge, readings(0, 3000))
    worker = start_in("worker", shipped("worker.toml", server))
    send(edge, readings(3000, 5000))
    wait_until(lambda: len(rows_of(worker)) == 5000, "all rows")
    edge.stop()
    worker.stop()
    assert rows_of(worker) == list(range(5000))
    assert edge.books()["readings", "uplink", "jetstream", "stored"] == 5000
    assert worker.books()["readings", "", "", "received"] == 5000
    assert worker.books()["readings", "store", "readings", "stored"] == 5000


def test_kills_of_worker_and_server_lose_nothing(
    start_in: Any, server: NatsServer, wait_until: Callable[..., Any]
) -> None:
    edge = start_in("edge", shipped("edge.toml", server))
    config = shipped("worker.toml", server).replace('"workers"', '"workers"\nack_wait = "2s"')
    worker = start_in("worker", config)
    for turn in range(6):
        send(edge, readings(turn * 500, turn * 500 + 500))
        if turn == 2:
            worker.process.send_signal(signal.SIGKILL)
            worker.process.wait(30)
            worker = start_in("worker", config)
        if turn == 4:
            server.stop()
            server.start()
    wait_until(lambda: len(rows_of(worker)) == 3000, "all rows")
    edge.stop()
    worker.stop()
    assert rows_of(worker) == list(range(3000))
    assert edge.books()["readings", "uplink", "jetstream", "stored"] == 3000
    assert not edge.events("sink_failed")
