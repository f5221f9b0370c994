"""Sockets that somebody else holds, as systemd does: what comes while no daemon runs waits for the next."""

import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

SHIM = Path(__file__).parent / "activation" / "passed_on.py"

CONFIG = """
[admin]
listen = "none"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:{tcp}"
[sources.lab]
type = "udp"
listen = "127.0.0.1:{udp}"
[pipelines.main]
sources = ["floor", "lab"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""


class Holder:
    """What PID 1 is for a socket unit: it has the sockets and gives them to each daemon that starts."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.tcp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        self.udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        for sock in (self.tcp, self.udp):
            sock.bind(("127.0.0.1", 0))
        self.tcp.listen(1024)
        self.config = CONFIG.format(tcp=self.tcp.getsockname()[1], udp=self.udp.getsockname()[1])
        path = str(folder / "holder")
        self._giving = stack.enter_context(socket.socket(socket.AF_UNIX))
        self._giving.bind(path)
        self._giving.listen()
        self.prefix = (sys.executable, str(SHIM), path)

    def give(self, *more: socket.socket) -> None:
        def given() -> None:
            with self._giving.accept()[0] as connection:
                fds = [sock.fileno() for sock in (self.tcp, self.udp, *more)]
                socket.send_fds(connection, [b"x"], fds)

        threading.Thread(target=given, daemon=True).start()

    def datagrams(self, first: int, count: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(self.udp.getsockname())
            for number in range(first, first + count):
                sock.send(b"u%d" % number)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.tcp.getsockname(), timeout=60)


@contextmanager
def _holder(folder: Path) -> Iterator[Holder]:
    with ExitStack() as stack:
        yield Holder(folder, stack)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    with _holder(tmp_path) as holder:
        yield holder


def messages(daemon: Any, source: str) -> list[str]:
    sql = f"SELECT json_extract(record, '$.message') FROM records WHERE source = '{source}' ORDER BY id"  # noqa: S608
    return [text for (text,) in daemon.query(sql)]


def test_what_came_before_the_first_start_is_stored(start: Any, holder: Holder) -> None:
    holder.datagrams(0, 100)
    with holder.connect() as early:
        early.sendall(b"early\n")
        holder.give()
        daemon = start(holder.config, *holder.prefix)
        early.shutdown(socket.SHUT_WR)
        assert early.recv(1) == b""
    daemon.wait_rows(101)
    daemon.stop()
    assert messages(daemon, "lab") == [f"u{n}" for n in range(100)]
    assert messages(daemon, "floor") == ["early"]


def test_a_restart_refuses_no_connection_and_loses_no_datagram(start: Any, holder: Holder) -> None:
    holder.give()
    first = start(holder.config, *holder.prefix)
    holder.datagrams(0, 100)
    first.wait_rows(100)
    first.stop()
    holder.datagrams(100, 100)
    with holder.connect() as between:
        between.sendall(b"between\n")
        holder.give()
        second = start(holder.config, *holder.prefix)
        between.shutdown(socket.SHUT_WR)
        assert between.recv(1) == b""
    second.wait_rows(201)
    second.stop()
    assert messages(second, "lab") == [f"u{n}" for n in range(200)]
    assert second.books()["lab", "", "", "received"] == 100


def test_a_killed_daemon_leaves_the_queue_to_the_next_and_the_ledger_says_so(
    start: Any, holder: Holder
) -> None:
    holder.give()
    first = start(holder.config, *holder.prefix)
    holder.datagrams(0, 100)
    first.wait_rows(100)
    first.process.send_signal(signal.SIGSTOP)
    holder.datagrams(100, 100)
    first.process.kill()
    first.process.wait(60)
    holder.datagrams(200, 100)
    holder.give()
    second = start(holder.config, *holder.prefix)
    second.wait_rows(300)
    second.stop()
    assert messages(second, "lab") == [f"u{n}" for n in range(300)]
    assert second.query("SELECT count(*) FROM ledger WHERE counter = 'unclean'") == [(1,)]


def test_a_socket_no_source_reads_is_named_and_a_reload_may_take_it(
    start: Any, holder: Holder, wait_until: Callable[..., Any]
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as spare:
        spare.bind(("127.0.0.1", 0))
        port = spare.getsockname()[1]
        holder.give(spare)
        daemon = start(holder.config, *holder.prefix)
        (event,) = daemon.events("socket_not_used")
        assert event["address"] == f"127.0.0.1:{port}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"waited", spare.getsockname())
        more = f'[sources.spare]\ntype = "udp"\nlisten = "127.0.0.1:{port}"\n'
        daemon.config.write_text(
            holder.config.replace('["floor", "lab"]', '["floor", "lab", "spare"]') + more
        )
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: daemon.events("reloaded"), "the reload")
        daemon.wait_rows(1)
        daemon.stop()
        assert messages(daemon, "spare") == ["waited"]


def test_several_processes_share_the_sockets_and_a_restart_refuses_nobody(start: Any, holder: Holder) -> None:
    config = f"[daemon]\nprocesses = 2\n{holder.config}"
    holder.give()
    daemon = start(config, *holder.prefix)
    for number in range(10):
        with holder.connect() as connection:
            connection.sendall(b"t%d\n" % number)
    holder.datagrams(0, 10)
    daemon.wait_rows(20)
    daemon.stop()
    assert not daemon.events("socket_not_used")
    with holder.connect() as waiting:
        waiting.sendall(b"waited\n")
        holder.datagrams(10, 5)
        holder.give()
        daemon = start(config, *holder.prefix)
        daemon.wait_rows(26)
    daemon.stop()
    assert len(messages(daemon, "lab")) == 15
    assert sorted(messages(daemon, "floor")) == sorted(["waited", *(f"t{number}" for number in range(10))])


def test_sockets_meant_for_another_process_are_left_alone(start: Any, catch_all: str) -> None:
    daemon = start(catch_all, LISTEN_FDS="3", LISTEN_PID="1")
    daemon.tcp(b"x\n")
    daemon.wait_rows(1)
    daemon.stop()
    assert not daemon.events("socket_not_used")
