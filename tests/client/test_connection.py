"""Also about `client/transfer.py`."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from streamd.client.connection import LARGEST_DATAGRAM_BYTES, TcpConnection, UdpConnection
from streamd.client.stop import Stop, Stopped
from streamd.core.errors import EnvironmentFault
from streamd.core.settings import Address


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def datagrams() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving:
        receiving.bind(("127.0.0.1", 0))
        receiving.settimeout(60)
        yield receiving


def address_of(listening: socket.socket) -> Address:
    return Address(*listening.getsockname()[:2])


def soon_s() -> float:
    return time.monotonic() + 0.01


def test_one_datagram_a_record(datagrams: socket.socket) -> None:
    connection = UdpConnection(address_of(datagrams), Stop())
    connection.send([b"a", b"\xe6\x95\xb0", b"x" * LARGEST_DATAGRAM_BYTES])
    received = [datagrams.recv(70_000) for _ in range(3)]
    assert received == [b"a", b"\xe6\x95\xb0", b"x" * LARGEST_DATAGRAM_BYTES]
    assert (connection.sent_records, connection.sent_bytes) == (3, 4 + LARGEST_DATAGRAM_BYTES)
    connection.close()


def test_a_record_no_datagram_can_hold_is_refused_and_those_before_it_are_counted(
    datagrams: socket.socket,
) -> None:
    connection = UdpConnection(address_of(datagrams), Stop())
    with pytest.raises(EnvironmentFault, match="a record of 65508 bytes does not fit into a datagram"):
        connection.send([b"a", b"b", b"x" * (LARGEST_DATAGRAM_BYTES + 1), b"c"])
    assert (connection.sent_records, connection.sent_bytes) == (2, 2)
    connection.close()


def test_a_closed_udp_port_is_noticed_at_the_end_also_for_a_single_datagram(datagrams: socket.socket) -> None:
    to = address_of(datagrams)
    datagrams.close()
    connection = UdpConnection(to, Stop())
    connection.send([b"only"])
    with pytest.raises(ConnectionRefusedError):
        connection.finish(soon_s())
    connection.close()


def test_a_closed_udp_port_ends_the_sending_with_the_exact_number(datagrams: socket.socket) -> None:
    to = address_of(datagrams)
    datagrams.close()
    connection = UdpConnection(to, Stop())
    with pytest.raises(ConnectionRefusedError):
        connection.send([b"1", b"2", b"3"])
    assert connection.sent_records == 1
    connection.close()


@pytest.mark.parametrize(
    ("framing", "stream"),
    [("newline", b"a\nbc\n"), ("octet_counting", b"1 a2 bc")],
)
def test_a_stream_is_framed(listener: socket.socket, framing: str, stream: bytes) -> None:
    connection = TcpConnection(address_of(listener), Stop(), framing)  # type: ignore[arg-type]  # parametrized text
    peer, _ = listener.accept()
    connection.send([b"a", b"bc"])
    connection.send([])
    connection.finish(soon_s())
    connection.close()
    with peer, peer.makefile("rb") as received:
        assert received.read() == stream
    assert (connection.sent_records, connection.sent_bytes) == (2, len(stream))


def test_a_peer_that_never_closes_does_not_hold_the_end_up(listener: socket.socket) -> None:
    connection = TcpConnection(address_of(listener), Stop())
    peer, _ = listener.accept()
    with peer:
        peer.sendall(b"unasked answer")
        connection.send([b"a"])
        until_s = soon_s()
        connection.finish(until_s)
        assert until_s <= time.monotonic() < until_s + 60
        assert (peer.recv(10), peer.recv(10)) == (b"a\n", b"")
        connection.close()


@pytest.mark.parametrize("framing", ["newline", "octet_counting"])
def test_a_full_stream_that_the_user_ends_counts_whole_records_only(
    listener: socket.socket, framing: str
) -> None:
    stop = Stop()
    connection = TcpConnection(address_of(listener), stop, framing)  # type: ignore[arg-type]  # parametrized text
    peer, _ = listener.accept()
    stop.requested = True  # nothing reads: the first wait for room ends it
    record = b"x" * 99_990
    with pytest.raises(Stopped):
        connection.send([record] * 1000)
    connection.close()
    received = 0
    with peer:
        while block := peer.recv(1 << 20):
            received += len(block)
    assert received == connection.sent_bytes
    size_bytes = len(record) + (1 if framing == "newline" else len(b"99990 "))
    assert connection.sent_records == received // size_bytes > 0
    assert received % size_bytes


def test_a_slow_reader_gets_everything(listener: socket.socket) -> None:
    received = bytearray()

    def read_all() -> None:
        peer, _ = listener.accept()
        with peer:
            while block := peer.recv(65536):
                received.extend(block)

    reader = threading.Thread(target=read_all)
    reader.start()
    connection = TcpConnection(address_of(listener), Stop())
    lines = [b"%d" % number for number in range(2_000_000)]
    connection.send(lines)
    connection.finish(time.monotonic() + 30)
    connection.close()
    reader.join()
    assert bytes(received).split(b"\n")[:-1] == lines


def test_ipv6(listener: socket.socket) -> None:
    del listener
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        connection = TcpConnection(address_of(listening), Stop())
        peer, _ = listening.accept()
        with peer:
            connection.send([b"six"])
            assert peer.recv(10) == b"six\n"
        connection.close()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiving:
        receiving.bind(("::1", 0))
        receiving.settimeout(60)
        datagram = UdpConnection(address_of(receiving), Stop())
        datagram.send([b"six"])
        assert receiving.recv(10) == b"six"
        datagram.close()


def test_nobody_at_the_port_is_an_error_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        to = address_of(listening)
    with pytest.raises(ConnectionRefusedError):
        TcpConnection(to, Stop())
