import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from streamd.core.settings import Address
from streamd.net.confirmed_connection import Broken, ConfirmedConnection, _whole, connect

Until = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Whoever connects can send little before it reads."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


async def connected(server: socket.socket) -> tuple[ConfirmedConnection, socket.socket]:
    connection = await connect(Address(*server.getsockname()), 5.0)
    connection._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return connection, server.accept()[0]


async def ended(connection: ConfirmedConnection, until: Until) -> "asyncio.Task[None]":
    """The end is said, and the peer's is waited for."""
    ending = asyncio.create_task(connection.end(20.0))
    await until(lambda: connection._said_end)
    return ending


async def test_a_peer_that_ends_its_side_after_ours_has_read_everything(
    server: socket.socket, until: Until
) -> None:
    connection, peer = await connected(server)
    with peer:
        await connection.send([b"a\n", b"b\n"])
        assert connection.unconfirmed == 2
        ending = await ended(connection, until)
        assert peer.recv(100) == b"a\nb\n"
        assert peer.recv(100) == b""
        assert not ending.done()
        peer.shutdown(socket.SHUT_WR)
        await ending
    assert (connection.confirmed, connection.unconfirmed, connection.broken) == (True, 0, None)
    connection.close()


async def test_a_peer_that_ends_its_side_with_our_bytes_on_the_way_confirms_nothing(
    server: socket.socket, until: Until
) -> None:
    connection, peer = await connected(server)
    with peer:
        await connection.send([b"x" * 999 + b"\n"] * 200)
        ending = await ended(connection, until)
        peer.shutdown(socket.SHUT_WR)
        await ending
    assert (connection.confirmed, connection.unconfirmed) == (False, 200)
    assert connection.broken is not None
    assert connection.broken.reason == "closed"
    connection.close()


async def test_a_reset_behind_an_end_that_crossed_ours_confirms_nothing(server: socket.socket) -> None:
    connection, peer = await connected(server)
    await connection.send([b"unread\n"])
    peer.shutdown(socket.SHUT_WR)
    peer.close()  # with bytes unread: the kernel resets
    connection._said_end = True  # at the same moment
    assert not connection.is_open()
    assert (connection.confirmed, connection.unconfirmed) == (False, 1)
    assert connection.broken is not None
    assert connection.broken.detail in (os.strerror(errno.ECONNRESET), os.strerror(errno.EPIPE))
    connection.close()


async def test_an_end_of_the_peer_before_ours_confirms_nothing(server: socket.socket) -> None:
    connection, peer = await connected(server)
    with peer:
        await connection.send([b"a\n"])
        assert peer.recv(100) == b"a\n"
        peer.shutdown(socket.SHUT_WR)
        assert not connection.is_open()
    assert (connection.confirmed, connection.unconfirmed) == (False, 1)
    connection.close()


async def test_a_peer_that_never_ends_its_side_is_not_trusted(server: socket.socket) -> None:
    connection, peer = await connected(server)
    with peer:
        await connection.send([b"a\n"])
        await connection.end(0.05)
    assert (connection.confirmed, connection.unconfirmed) == (False, 1)
    assert connection.broken is not None
    assert "did not end its side in 0.05 s" in connection.broken.detail
    connection.close()


async def test_a_write_that_was_cancelled_leaves_a_broken_connection_that_knows_what_is_out(
    server: socket.socket, until: Until, stays: Any
) -> None:
    connection, peer = await connected(server)
    with peer:
        sending = asyncio.create_task(connection.send([b"x" * 99_999 + b"\n"] * 100))
        await until(lambda: connection._outstanding_bytes() > 100_000)
        await stays(lambda: not sending.done(), 0.01)
        number = connection._sock.fileno()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert connection.broken is not None
        assert 0 < connection.records < 100
        assert not asyncio.get_running_loop().remove_writer(number)
    connection.close()


async def test_a_peer_that_talks_without_an_end_does_not_hold_the_loop(server: socket.socket) -> None:
    connection, peer = await connected(server)
    reads = 0

    class Talkative:
        def recv(self, size: int) -> bytes:
            nonlocal reads
            reads += 1
            assert reads < 1000
            return b"x" * size

    real, connection._sock = connection._sock, Talkative()  # type: ignore[assignment]  # a peer faster than we
    assert connection.is_open()
    connection._sock = real
    connection.close()
    peer.close()


async def test_a_port_on_which_nobody_listens_is_not_connected_to_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    loop = asyncio.get_running_loop()

    async def to_itself(sock: socket.socket, where: tuple[str, int]) -> None:
        sock.setblocking(True)
        sock.bind(where)
        sock.connect(where)

    monkeypatch.setattr(
        type(loop), "sock_connect", lambda _, sock, where: to_itself(sock, where), raising=False
    )
    with pytest.raises(Broken, match="nothing listens there"):
        await connect(Address("127.0.0.1", port), 5.0)


@pytest.mark.parametrize(
    ("sent_bytes", "whole"),
    [(0, 0), (1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)],
)
def test_a_line_counts_as_sent_with_its_last_character(sent_bytes: int, whole: int) -> None:
    assert _whole([b"a\n", b"bc\n", b"d\n"], sent_bytes) == whole


@pytest.mark.parametrize(("sent_bytes", "whole"), [(2, 0), (3, 1), (6, 1), (7, 2)])
def test_a_counted_frame_counts_as_sent_with_all_of_it(sent_bytes: int, whole: int) -> None:
    assert _whole([b"1 a", b"2 bc"], sent_bytes) == whole
