"""Senders that want to exhaust the daemon: what they may take is bounded, and every refusal is counted."""

import contextlib
import json
import os
import random
import resource
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

MIB = 2**20
ENDLESS_BYTES = 256 * MIB
IDLE_BYTES = 100 * MIB
"""What the process may take where no buffer is full."""
HEAD = """
[admin]
listen = "127.0.0.1:0"
[ledger]
interval = "1s"
[dead_letters]
max_size = "1MiB"
[sinks.records]
type = "sqlite"
"""


def config_of(sources: dict[str, str]) -> str:
    """TCP sources (where their keys name no other type) into one table."""
    parts = [HEAD, f'[pipelines.main]\nsources = {json.dumps(list(sources))}\nsinks = ["records"]\n']
    for name, keys in sources.items():
        kind = "" if keys.startswith("type") else 'type = "tcp"'
        parts.append(f'[sources.{name}]\nlisten = "127.0.0.1:0"\n{kind}\n{keys}\n')
    return "".join(parts)


def connect(daemon: Any, source: str = "floor") -> socket.socket:
    return socket.create_connection(daemon.address(source), timeout=60)


def is_closed(sock: socket.socket) -> bool:
    """Wait until the other side has closed."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 12_000:
        pytest.skip(f"10,000 connections need as many files, and the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_256_mib_without_a_line_end_cost_one_truncated_frame_and_no_memory(start: Callable[..., Any]) -> None:
    daemon = start(config_of({"floor": 'max_frame = "64KiB"'}))
    block = b"a" * MIB
    with connect(daemon) as sock:
        for _ in range(ENDLESS_BYTES // MIB):
            sock.sendall(block)
        sock.sendall(b"\nnext\n")
        sock.shutdown(socket.SHUT_WR)
        assert is_closed(sock)
    peak_bytes = daemon.peak_bytes
    daemon.stop()
    books = daemon.books()
    assert books["floor", "", "", "truncated"] == 1
    assert books["floor", "", "", "discarded_bytes"] == ENDLESS_BYTES - 64 * 1024
    rows = daemon.query("SELECT length(record ->> 'message'), record ->> '@flag' FROM records ORDER BY id")
    assert rows == [(64 * 1024, "truncated"), (4, None)]
    assert peak_bytes < IDLE_BYTES


ENDLESS = {
    "line-truncated": (b"a" * 100, 'max_frame = "64B"', 1),
    "line-dropped": (b"a" * 100, 'max_frame = "64B"\noversize = "drop"', 0),
    "line-held": (b"a", "", 1),
    "count-truncated": (b"1000 " + b"a" * 100, 'max_frame = "64B"\nframing = "octet_counting"', 1),
    "count-held": (b"1000 a", 'framing = "octet_counting"', 0),
    "auto-truncated": (b"1000 <" + b"a" * 100, 'max_frame = "64B"\nframing = "auto"', 1),
}
"""The beginning of a frame, the keys of a source of its own, and how many records it stores."""


def trickle(daemon: Any, source: str, stream: bytes) -> None:
    """Begin a frame and go on byte by byte until the other side closes; never end the frame."""
    with connect(daemon, source) as sock, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        sock.sendall(stream)
        sock.settimeout(0.05)
        end_s = time.monotonic() + 60
        while time.monotonic() < end_s:
            try:
                if sock.recv(1) == b"":
                    return
            except TimeoutError:
                sock.send(b"a")
        raise AssertionError(f"nobody closed {source}")


def test_frames_that_never_end_are_closed_by_their_timeout_although_bytes_keep_coming(
    start: Callable[..., Any],
) -> None:
    daemon = start(
        config_of({name: f'frame_timeout = "1s"\n{keys}' for name, (_, keys, _) in ENDLESS.items()})
    )
    with ThreadPoolExecutor(len(ENDLESS)) as senders:
        waits = [senders.submit(trickle, daemon, name, stream) for name, (stream, _, _) in ENDLESS.items()]
        for wait in waits:
            wait.result()
    daemon.stop()
    books = daemon.books()
    for name, (_, _, stored) in ENDLESS.items():
        assert daemon.reasons("connections_closed", name) == {"frame_timeout": 1}
        assert books[name, "main", "records", "stored"] == stored, name


@pytest.mark.usefixtures("many_files")
def test_of_10000_silent_connections_the_cap_holds_and_the_others_are_refused(
    start: Callable[..., Any],
) -> None:
    daemon = start(config_of({"floor": "max_connections = 1000", "quiet": ""}))
    with contextlib.ExitStack() as sockets:
        silent = [sockets.enter_context(connect(daemon)) for _ in range(10_000)]
        assert all(is_closed(sock) for sock in silent[1000:])
        daemon.tcp(b"meanwhile\n", source="quiet")
        daemon.wait_rows(1)
        for sock in silent[:1000]:
            sock.sendall(b"not so silent\n")
        daemon.wait_rows(1001)
        peak_bytes = daemon.peak_bytes
    daemon.stop()
    assert daemon.reasons("connections_refused") == {"max_connections": 9_000}
    assert daemon.books()["floor", "", "", "connections"] == 1_000
    assert daemon.books()["floor", "main", "records", "stored"] == 1_000
    assert peak_bytes < IDLE_BYTES


def test_1000_unfinished_lines_cost_what_they_hold_and_are_delivered_when_their_senders_close(
    start: Callable[..., Any],
) -> None:
    daemon = start(config_of({"floor": 'codec = "text"'}))
    with contextlib.ExitStack() as sockets:
        held = [sockets.enter_context(connect(daemon)) for _ in range(1000)]
        for sock in held:
            sock.sendall(b"whole\n" + b"a" * 60_000)
        daemon.wait_rows(1000)
        peak_bytes = daemon.peak_bytes
        for sock in held:
            sock.shutdown(socket.SHUT_WR)
        assert all(map(is_closed, held))
    daemon.stop()
    assert daemon.books()["floor", "", "", "unterminated"] == 1000
    sizes = "SELECT length(record ->> 'message'), count(*) FROM records GROUP BY 1 ORDER BY 1"
    assert daemon.query(sizes) == [(5, 1000), (60_000, 1000)]
    assert peak_bytes < IDLE_BYTES + 1000 * 64 * 1024 * 5 // 4


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="util-linux prlimit is not installed")
def test_without_free_file_descriptors_it_neither_spins_nor_stops_and_recovers(
    start: Callable[..., Any], wait_until: Callable[..., Any], stays: Any
) -> None:
    daemon = start(config_of({"floor": "", "quiet": ""}), "prlimit", "--nofile=60:60")
    with contextlib.ExitStack() as sockets:
        held = [sockets.enter_context(connect(daemon)) for _ in range(200)]
        before_s = cpu_s(daemon)
        stays(lambda: cpu_s(daemon) - before_s < 0.5, 1)
        for sock in held:
            with contextlib.suppress(OSError):  # closed by the daemon, which had no file for it
                sock.sendall(b"x\n")
        daemon.wait_rows(1)
    wait_until(lambda: taken(daemon, b"after\n"), "a connection to be taken again")
    daemon.stop()
    books = daemon.books()
    assert books["quiet", "main", "records", "stored"] == 1
    assert books["floor", "main", "records", "stored"] == books["floor", "", "", "connections"] > 0


def taken(daemon: Any, data: bytes) -> bool:
    """Whether a connection to the source `quiet` was accepted and read to its end."""
    try:
        daemon.tcp(data, source="quiet")
    except OSError:
        return False
    return True


def cpu_s(daemon: Any) -> float:
    """CPU time, of program and kernel, the daemon has taken."""
    ticks = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def test_silent_connections_are_closed_after_the_first_byte_timeout(start: Callable[..., Any]) -> None:
    daemon = start(config_of({"floor": 'first_byte_timeout = "3s"\nframe_timeout = "3s"'}))
    with contextlib.ExitStack() as sockets:
        speaking = sockets.enter_context(connect(daemon))
        speaking.sendall(b"one\n")
        daemon.wait_rows(1)
        silent = [sockets.enter_context(connect(daemon)) for _ in range(500)]
        assert all(is_closed(sock) for sock in silent)
        speaking.sendall(b"two\n")
        daemon.wait_rows(2)
    daemon.stop()
    assert daemon.reasons("connections_closed") == {"first_byte_timeout": 500}


def test_10000_framing_errors_make_few_log_lines_whose_suppressed_numbers_add_up(
    start: Callable[..., Any],
) -> None:
    daemon = start(config_of({"floor": 'framing = "octet_counting"'}))

    def break_framing(_: int) -> None:
        with connect(daemon) as sock:
            sock.sendall(b"\x1b[2J<0>\n")
            assert is_closed(sock)

    begun_s = time.monotonic()
    with ThreadPoolExecutor(8) as senders:
        list(senders.map(break_framing, range(10_000)))
    daemon.stop()
    took_s = time.monotonic() - begun_s  # it may have read the last ones long after they were sent
    assert daemon.reasons("framing_errors") == {"count:syntax": 10_000}
    lines = daemon.events("framing_error")
    told = len(lines) + sum(line.get("suppressed", 0) for line in lines)
    told += sum(line["suppressed"] for line in daemon.events("suppressed") if line["kind"] == "framing_error")
    assert told == 10_000
    assert len(lines) <= 20 + took_s + 1


def test_it_stops_in_good_order_while_connections_storm(start: Callable[..., Any]) -> None:
    daemon = start(config_of({"floor": ""}))
    address = daemon.address("floor")

    def storm(_: int) -> None:
        with contextlib.ExitStack() as sockets, contextlib.suppress(OSError):
            for _ in range(5000):
                sockets.enter_context(socket.create_connection(address)).sendall(b"line\nbegun")

    with ThreadPoolExecutor(3) as senders:
        waits = [senders.submit(storm, n) for n in range(3)]
        daemon.wait_rows(100)
        daemon.stop()
        for wait in waits:
            wait.result()
    assert not daemon.events("uncaught_exception")


EVERY_LISTENER = {
    f"{framing}-{codec}": f'framing = "{framing}"\ncodec = "{codec}"\nmax_frame = "1KiB"'
    for framing in ("newline", "nul", "auto", "octet_counting", "length_prefix")
    for codec in ("json", "auto")
} | {f"udp-{codec}": f'type = "udp"\ncodec = "{codec}"' for codec in ("json", "auto", "text", "raw")}
WORDS = (
    *(b'{ } [ ] " : , 1 \\ud800 {"a":1} 1e999 NaN "@peer"'.split(b" ")),
    *(b"\n", b"\0", b"\r\n", b"\xff", "数据".encode(), b"\x1b", b" ", b"\0\0\0\5abcde", b"12 {", b"9 <"),
)


def test_random_bytes_to_every_listener_for_some_seconds(start: Callable[..., Any]) -> None:
    daemon = start(config_of(EVERY_LISTENER))
    chance = random.Random(1)  # noqa: S311 - the same noise in every run
    sent = dict.fromkeys(EVERY_LISTENER, 0)
    where = {name: daemon.address(name) for name in EVERY_LISTENER}
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end_s = time.monotonic() + 3
    while time.monotonic() < end_s:
        for name, address in where.items():
            noise = chance.randbytes(chance.randrange(2000))
            if chance.random() < 0.7:
                noise = b"".join(chance.choices(WORDS, k=chance.randrange(300)))
            if name.startswith("udp"):
                sent[name] += datagrams.sendto(noise, address) >= 0
            else:
                with socket.create_connection(address) as sock, contextlib.suppress(OSError):
                    sock.sendall(noise)
    datagrams.close()
    peak_bytes = daemon.peak_bytes
    daemon.stop()
    books = daemon.books()
    for name, count in sent.items():
        received = books[name, "", "", "received"]
        if name.startswith("udp"):
            assert received + books[name, "", "", "kernel_dropped"] == count
        else:
            assert received > 0
    stored = sum(books[name, "main", "records", "stored"] for name in EVERY_LISTENER)
    assert daemon.query("SELECT count(*) FROM records") == [(stored,)]
    log = daemon.stderr.partition("source newline-json: ")[0]
    assert all(json.loads(line)["level"] in ("info", "warning") for line in log.splitlines())
    assert peak_bytes < IDLE_BYTES


def test_datagrams_of_thousands_of_records_keep_nobody_waiting(start: Any) -> None:
    daemon = start()
    daemon.udp(*[b"{}\n" * 21_000] * 20)
    daemon.tcp(b'{"me":1}\n')

    def mine() -> bool:
        return bool(daemon.query("SELECT 1 FROM records WHERE source = 'floor'"))

    until_mine = time.monotonic() + 30
    while not mine():
        assert time.monotonic() < until_mine
    before = daemon.query("SELECT count(*) FROM records")[0][0]
    assert before < 420_000, "the other sender's record overtook most of the flood"
    assert daemon.peak_bytes < 300 * 2**20
    daemon.stop()
    assert daemon.query("SELECT count(*) FROM records") == [(420_001,)]
