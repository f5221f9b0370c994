import os
import socket
from typing import Any

import pytest

from streamd.core.settings import Address
from streamd.net.sockets import SO_BUF_LOCK, STREAM_BUFFER_BYTES, ListeningSockets, inherited

DGRAM, STREAM = socket.SOCK_DGRAM, socket.SOCK_STREAM


def free_port(kind: socket.SocketKind = DGRAM) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def bound(host: str, kind: socket.SocketKind = DGRAM) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    sock.bind((host, 0))
    return sock


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def test_who_listens_on_one_address_shares_its_socket_and_the_last_one_is_told() -> None:
    sockets = ListeningSockets()
    listen = Address("127.0.0.1", free_port())
    first, address = sockets.take(listen, DGRAM, "a")
    second, _ = sockets.take(listen, DGRAM, "b")
    assert address == listen
    with first, second, socket.socket(socket.AF_INET, DGRAM) as sender:
        sender.sendto(b"x", listen)
        assert second.recv(10) == b"x"
        assert not sockets.give_back(listen, DGRAM)
        first.close()
        sender.sendto(b"y", listen)
        assert second.recv(10) == b"y"
        assert sockets.give_back(listen, DGRAM)
    again, _ = sockets.take(listen, DGRAM, "c")  # nobody has the address any more
    again.close()
    assert sockets.give_back(listen, DGRAM)


def test_with_port_0_each_gets_a_socket_of_its_own() -> None:
    sockets = ListeningSockets()
    listen = Address("127.0.0.1", 0)
    first, one = sockets.take(listen, DGRAM, "a")
    second, other = sockets.take(listen, DGRAM, "b")
    with first, second:
        assert one != other
        assert sockets.give_back(listen, DGRAM)
        assert sockets.give_back(listen, DGRAM)


@pytest.mark.parametrize(
    ("host", "wanted", "found"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.1", False),  # noqa: S104 - what a socket unit may hold
        ("0.0.0.0", "0.0.0.0", True),  # noqa: S104 - the same
        ("::", "0.0.0.0", True),  # noqa: S104 - the same
        ("::", "::", True),
        ("::1", "::1", True),
    ],
)
def test_an_inherited_socket_is_found_by_address_and_kind(host: str, wanted: str, found: bool) -> None:
    with bound(host) as sock:
        sockets = ListeningSockets([sock])
        listen = Address(wanted, port_of(sock))
        assert (sockets.inherited(listen, DGRAM, "a") is sock) == found
        assert sockets.inherited(listen, STREAM, "a") is None
        assert sockets.inherited(Address(wanted, port_of(sock) ^ 1), DGRAM, "a") is None


def test_an_inherited_socket_is_never_the_last_takers_to_close() -> None:
    with bound("127.0.0.1") as sock:
        sockets = ListeningSockets([sock])
        listen = Address("127.0.0.1", port_of(sock))
        taken, address = sockets.take(listen, DGRAM, "a")
        assert address == listen
        taken.close()
        assert not sockets.give_back(listen, DGRAM)
        assert sock.fileno() >= 0


def passed(
    monkeypatch: pytest.MonkeyPatch, *socks: socket.socket, **variables: str
) -> tuple[list[Any], dict[str, str]]:
    """`inherited` with these sockets in a row of descriptors."""
    first = max([sock.fileno() for sock in socks], default=100) + 50
    for number, sock in enumerate(socks):
        os.dup2(sock.fileno(), first + number, inheritable=True)
    monkeypatch.setattr("streamd.net.sockets.FIRST_FD", first)
    environment = {"LISTEN_FDS": str(len(socks)), "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "a:b"}
    environment |= variables | {"OTHER": "stays"}
    return inherited(environment), environment


def test_what_was_passed_on_is_taken_and_no_child_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with bound("127.0.0.1") as one, bound("::1", STREAM) as two:
        found, environment = passed(monkeypatch, one, two)
        assert [sock.getsockname() for sock in found] == [one.getsockname(), two.getsockname()]
        assert not any(sock.get_inheritable() or sock.getblocking() for sock in found)
        assert environment == {"OTHER": "stays"}
        for sock in found:
            sock.close()


@pytest.mark.parametrize(
    "variables", [{"LISTEN_PID": "1"}, {"LISTEN_PID": ""}, {"LISTEN_FDS": "x"}, {"LISTEN_FDS": "-1"}]
)
def test_what_was_not_meant_for_this_process_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    with bound("127.0.0.1") as one:
        found, environment = passed(monkeypatch, one, **variables)
        assert found == []
        assert environment == {"OTHER": "stays"}
        os.close(one.fileno() + 50)


def test_what_is_no_internet_socket_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as unix, bound("127.0.0.1") as good:
        found, _ = passed(monkeypatch, unix, good)
        assert [sock.getsockname() for sock in found] == [good.getsockname()]
        found[0].close()
        os.close(max(unix.fileno(), good.fileno()) + 50)  # left alone


def test_a_connection_and_a_socket_without_a_port_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with bound("127.0.0.1", STREAM) as listening, socket.socket() as connected, socket.socket() as unbound:
        listening.listen()
        connected.connect(listening.getsockname())
        found, _ = passed(monkeypatch, connected, unbound, listening)
        first = max(sock.fileno() for sock in (listening, connected, unbound)) + 50
        assert [sock.getsockname() for sock in found] == [listening.getsockname()]
        found[0].close()
        for fd in (first, first + 1):
            os.close(fd)  # left alone


@pytest.mark.parametrize("count", ["3", "9" * 30, "²"])
def test_a_wrong_number_of_sockets_ends_with_those_that_are_there(
    monkeypatch: pytest.MonkeyPatch, count: str
) -> None:
    with bound("127.0.0.1") as one:
        found, environment = passed(monkeypatch, one, LISTEN_FDS=count)
        assert len(found) == count.isdecimal()
        assert environment == {"OTHER": "stays"}
        for sock in found:
            sock.close()
        if not found:
            os.close(one.fileno() + 50)


def test_a_receive_buffer_for_datagrams_does_not_fix_that_of_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with bound("127.0.0.1") as datagrams, bound("127.0.0.1", STREAM) as stream:
        for sock in (datagrams, stream):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        given = datagrams.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        found, _ = passed(monkeypatch, datagrams, stream)
        sizes = [sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for sock in found]
        locks = [sock.getsockopt(socket.SOL_SOCKET, SO_BUF_LOCK) for sock in found]
        for sock in found:
            sock.close()
    assert sizes == [given, 2 * STREAM_BUFFER_BYTES]
    assert locks == [2, 0], "the second may grow and shrink again"
