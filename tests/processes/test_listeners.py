"""Each process gets the sockets of its addresses, also after another one has ended."""

import socket
from pathlib import Path

import pytest

from streamd.config import Config, load
from streamd.core.books import Books
from streamd.core.errors import EnvironmentFault, Taken
from streamd.net.receive_buffer import drops_of
from streamd.processes.listeners import Listeners

CONFIG = """
[sources.floor]
type = "tcp"
listen = "127.0.0.1:{port}"
[sources.lab]
type = "udp"
listen = "127.0.0.1:{port}"
[pipelines.main]
sources = ["floor", "lab"]
sinks = ["rows"]
[sinks.rows]
type = "sqlite"
"""


def config(tmp_path: Path, port: int = 0) -> Config:
    path = tmp_path / "streamd.toml"
    path.write_text(CONFIG.format(port=port))
    return load(path).config


def addresses(listeners: Listeners, number: int) -> list[tuple[str, int]]:
    found = []
    for given in listeners.given(number):
        with socket.socket(fileno=socket.dup(given.fd)) as sock:
            found.append(sock.getsockname())
    return found


def test_all_processes_accept_from_one_socket_and_each_reads_datagrams_from_its_own(tmp_path: Path) -> None:
    listeners = Listeners([], 3)
    listeners.open(config(tmp_path))
    assert len(listeners.given(0)) == 2
    assert addresses(listeners, 0) == addresses(listeners, 1) == addresses(listeners, 2)
    fds = {kind: {given.fd for number in range(3) for given in listeners.given(number) if given.kind == kind}
           for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)}  # fmt: skip
    assert {kind: len(found) for kind, found in fds.items()} == {
        socket.SOCK_STREAM: 1,
        socket.SOCK_DGRAM: 3,
    }
    assert listeners.connections.addresses == (listeners.given(0)[0].listen,)
    assert {given.listen.port for given in listeners.given(0)} == {0}, "found by the configured address"
    listeners.close()
    assert not listeners.given(0)


def test_an_address_of_another_daemon_is_refused(tmp_path: Path) -> None:
    """Two shared sockets could be bound beside each other, and would divide the senders unnoticed."""
    other = Listeners([], 1)
    other.open(config(tmp_path))
    port = addresses(other, 0)[0][1]
    with socket.socket(fileno=socket.dup(other.given(0)[0].fd)) as sock:
        sock.listen()
    with pytest.raises(Taken):
        Listeners([], 2).open(config(tmp_path, port))
    other.close()


def test_a_socket_of_systemd_is_shared_and_its_datagrams_go_to_one_process(tmp_path: Path) -> None:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        listeners = Listeners([tcp, udp], 2)
        listeners.open(config(tmp_path, port))
        assert not listeners.given(0)
        assert listeners.inherited(0) == (tcp.fileno(), udp.fileno())
        assert listeners.inherited(1) == (tcp.fileno(),)
        assert listeners.alone == {"lab"}
        listeners.refuse_new(config(tmp_path, port))


def test_a_new_address_needs_a_restart(tmp_path: Path) -> None:
    listeners = Listeners([], 2)
    listeners.open(config(tmp_path))
    listeners.refuse_new(config(tmp_path))
    with pytest.raises(EnvironmentFault, match=r"source floor: 127\.0\.0\.1:9 is a new address"):
        listeners.refuse_new(config(tmp_path, 9))
    listeners.close()


def test_a_process_counts_the_drops_that_the_one_before_it_had_not_counted(tmp_path: Path) -> None:
    listeners = Listeners([], 2)
    listeners.open(config(tmp_path))
    assert listeners.counted_drops(0) == listeners.counted_drops(1) == {"lab": 0}
    books = Books()
    books.source("lab").counters.add("kernel_dropped", 2**32 - 1)
    listeners.count_drops(1, books)
    assert listeners.counted_drops(1) == {"lab": 2**32 - 1}
    books.source("lab").counters.add("kernel_dropped", -(2**32 - 8))
    listeners.count_drops(1, books)
    assert listeners.counted_drops(1) == {"lab": 6}, "the kernel counts modulo 2³²"
    listeners.count_drops(0, Books())
    assert listeners.counted_drops(0) == {"lab": 0}
    listeners.close()


def test_drops_of_a_socket_of_systemd_before_the_start_are_not_ours(tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket(type=socket.SOCK_DGRAM) as sender:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        udp.bind(("127.0.0.1", 0))
        for _ in range(200):
            sender.sendto(b"x" * 100, udp.getsockname())
        listeners = Listeners([udp], 2)
        listeners.open(config(tmp_path, udp.getsockname()[1]))
        assert listeners.counted_drops(0) == {"lab": drops_of(udp)}
        assert drops_of(udp) > 0
        assert listeners.counted_drops(1) == {}, "the first process alone reads it"
        listeners.close()
