"""Senders that take more than their share: it is refused and counted, and nobody else is the worse for it."""

import contextlib
import json
import os
import random
import resource
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HEAD = """
[admin]
listen = "127.0.0.1:0"
[sinks.records]
type = "sqlite"
"""
IDLE = 2000
GOOD = 4000
GOOD_PER_S = 1000


def config_of(sources: dict[str, str]) -> str:
    parts = [HEAD, f'[pipelines.main]\nsources = {json.dumps(list(sources))}\nsinks = ["records"]\n']
    parts += [f'[sources.{name}]\nlisten = "127.0.0.1:0"\n{keys}\n' for name, keys in sources.items()]
    return "".join(parts)


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < IDLE + 500:
        pytest.skip(f"{IDLE} connections need as many files, and the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def cpu_s(daemon: Any) -> float:
    """CPU time, of program and kernel, the daemon has taken."""
    ticks = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def connect(daemon: Any, source: str, bind: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(daemon.address(source), timeout=60, source_address=(bind, 0))


def is_closed(sock: socket.socket) -> bool:
    """Wait until the other side has closed."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="util-linux prlimit is not installed")
def test_connections_beyond_the_file_limit_are_closed_and_counted_and_later_ones_work(
    start: Callable[..., Any], wait_until: Callable[..., Any], stays: Any
) -> None:
    daemon = start(config_of({"floor": 'type = "tcp"'}), "prlimit", "--nofile=100:100")
    opened = 300
    with contextlib.ExitStack() as sockets:
        held = [sockets.enter_context(connect(daemon, "floor")) for _ in range(opened)]
        assert all(map(is_closed, held[100:]))
        before_s = cpu_s(daemon)
        held[0].sendall(b"while it is full\n")
        daemon.wait_rows(1)
        stays(lambda: cpu_s(daemon) - before_s < 0.5, 1)
    descriptors = Path(f"/proc/{daemon.process.pid}/fd")
    wait_until(lambda: len(list(descriptors.iterdir())) < 50, "the daemon to close the ended connections")
    daemon.tcp(b"after\n", source="floor")
    daemon.wait_rows(2)
    daemon.stop()
    refused = daemon.reasons("connections_refused")
    assert set(refused) == {"no_descriptors"}
    taken = daemon.books()["floor", "", "", "connections"]
    assert taken + refused["no_descriptors"] == opened + 1
    assert 20 < taken < 100
    assert daemon.events("no_descriptors")[0]["limit"] == 100
    assert not daemon.events("uncaught_exception")


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="util-linux prlimit is not installed")
def test_the_soft_file_limit_is_raised_to_the_hard_one(start: Callable[..., Any]) -> None:
    daemon = start(config_of({"floor": 'type = "tcp"'}), "prlimit", "--nofile=100:900")
    limits = Path(f"/proc/{daemon.process.pid}/limits").read_text().splitlines()
    assert next(line.split()[3:5] for line in limits if line.startswith("Max open files")) == ["900", "900"]
    with contextlib.ExitStack() as sockets:
        held = [sockets.enter_context(connect(daemon, "floor")) for _ in range(300)]
        for sock in held:
            sock.sendall(b"there is room\n")
        daemon.wait_rows(300)
    daemon.stop()
    assert daemon.reasons("connections_refused") == {}


def flood(daemon: Any, stop: threading.Event, sent: list[int]) -> None:
    """One sender that floods, opens connections and sends noise to each listener, until `stop`."""
    noise = random.Random(1)  # noqa: S311 - the same noise in every run
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.2", 0))
        while not stop.is_set():
            for payload in (*[b'{"greedy": 1}'] * 100, noise.randbytes(300)):
                datagrams.sendto(payload, daemon.address("lab"))
                sent.append(1)
            for source in ("floor", "few"):
                with contextlib.suppress(OSError), connect(daemon, source, "127.0.0.2") as sock:
                    sock.sendall(noise.randbytes(300))
            stop.wait(0.005)


def trickle(daemon: Any, stop: threading.Event) -> None:
    """A frame that never ends, a byte at a time, begun anew whenever it is closed."""
    while not stop.is_set():
        with connect(daemon, "floor", "127.0.0.3") as sock, contextlib.suppress(OSError):
            sock.settimeout(0.05)
            while not stop.is_set():
                sock.send(b"a")
                try:
                    if not sock.recv(1):
                        break
                except TimeoutError:
                    pass


@pytest.mark.usefixtures("many_files")
def test_a_good_sender_loses_nothing_among_slow_idle_greedy_and_mad_ones(
    start: Callable[..., Any], wait_until: Callable[..., Any], pace: Any
) -> None:
    daemon = start(
        config_of(
            {
                "lab": f'type = "udp"\ncodec = "json"\nmax_rate_per_sender = {2 * GOOD_PER_S}',
                "floor": 'type = "tcp"\ncodec = "json"\nmax_connections = 3000\nframe_timeout = "1s"\n'
                f"max_connections_per_sender = {IDLE}",
                "few": 'type = "tcp"\ncodec = "json"\nmax_connections_per_sender = 5\nframe_timeout = "1s"',
            }
        )
    )
    stop = threading.Event()
    sent: list[int] = []
    attackers = [
        threading.Thread(target=flood, args=(daemon, stop, sent)),
        threading.Thread(target=trickle, args=(daemon, stop)),
    ]
    with contextlib.ExitStack() as sockets:
        for _ in range(IDLE):
            sockets.enter_context(connect(daemon, "floor", "127.0.0.4"))
        greedy = [sockets.enter_context(connect(daemon, "few", "127.0.0.2")) for _ in range(20)]
        assert sum(map(is_closed, greedy[5:])) == 15
        stream = sockets.enter_context(connect(daemon, "few"))
        datagrams = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind(("127.0.0.1", 0))
        for thread in attackers:
            thread.start()
        try:
            began_s = time.monotonic()
            for n in range(GOOD):
                pace(began_s + n / GOOD_PER_S - time.monotonic())
                stream.sendall(b'{"tcp": %d}\n' % n)
                datagrams.sendto(b'{"udp": %d}' % n, daemon.address("lab"))
            good = "SELECT count(DISTINCT record ->> 'udp'), count(DISTINCT record ->> 'tcp') FROM records"
            wait_until(lambda: daemon.query(good) == [(GOOD, GOOD)], "every record of the good sender")
        finally:
            stop.set()
            for thread in attackers:
                thread.join()
    peak_bytes = daemon.peak_bytes
    daemon.stop()
    books = daemon.books()
    assert books["lab", "", "", "received"] == len(sent) + GOOD
    assert books["lab", "", "", "kernel_dropped"] == 0
    assert set(daemon.reasons("dropped", "lab")) == {"rate_limited"}
    assert set(daemon.reasons("connections_refused")) == {"max_connections_per_sender"}
    assert books["few", "", "", "connections_refused"] > 15
    assert books["floor", "", "", "connections_refused"] == 0
    assert daemon.reasons("connections_closed", "floor")["frame_timeout"] >= 2
    assert not daemon.reasons("connections_closed", "few")
    assert peak_bytes < 150 * 2**20
