import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from streamd.core.even_share import EvenShare
from streamd.net import acceptor
from streamd.net.acceptor import MOST, Acceptor

Until = Callable[[Callable[[], bool]], Awaitable[None]]


class Door:
    """An acceptor on a real socket, and whom it took and refused."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.address = self.socket.getsockname()
        self.number = self.socket.fileno()
        self.taken: list[socket.socket] = []
        self.refused: list[str] = []
        self.acceptor = Acceptor(
            self.socket, "floor", lambda sock, _: self.taken.append(sock), self.refused.append
        )
        self.clients: list[socket.socket] = []

    def connect(self, count: int = 1) -> None:
        self.clients += [socket.create_connection(self.address, timeout=20) for _ in range(count)]

    def fail(self, *codes: int) -> None:
        """The next calls of accept fail so."""
        failing, left = self.socket, list(codes)

        class Failing:
            def accept(self) -> Any:
                if left:
                    code = left.pop(0)
                    raise OSError(code, os.strerror(code))
                return failing.accept()

            def __getattr__(self, name: str) -> Any:
                return getattr(failing, name)

        self.acceptor._socket = Failing()  # type: ignore[assignment]  # the kernel's word

    @property
    def is_watched(self) -> bool:
        """Whether the loop still looks at the socket's number; it does not afterwards."""
        return asyncio.get_running_loop().remove_reader(self.number)


def _has(found: list[Any], count: int) -> bool:
    return len(found) == count


@pytest.fixture
def door() -> Iterator[Door]:
    one = Door()
    yield one
    for sock in (one.socket, *one.taken, *one.clients):
        sock.close()


async def test_each_connection_is_taken_once_and_never_blocks(door: Door, until: Until) -> None:
    door.acceptor.open()
    door.connect(2 * MOST + 1)
    await until(lambda: len(door.taken) == 2 * MOST + 1)
    assert {sock.getblocking() for sock in door.taken} == {False}
    assert {sock.getpeername() for sock in door.taken} == {sock.getsockname() for sock in door.clients}
    assert door.refused == []
    door.acceptor.close(is_last=True)
    assert not door.is_watched
    assert door.refused == []


async def test_who_waits_in_the_kernel_at_the_close_is_refused_and_counted(door: Door) -> None:
    door.acceptor.open()
    door.connect(3)
    door.acceptor.close(is_last=True)
    assert door.refused == ["stopping"] * 3
    assert door.socket.fileno() == -1
    for sock in door.clients:
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""


async def test_who_waits_at_a_socket_that_others_hold_is_left_to_them(door: Door) -> None:
    with door.socket.dup() as held:
        door.acceptor.open()
        door.connect(2)
        door.acceptor.close(is_last=False)
        assert (door.taken, door.refused) == ([], [])
        for _ in range(2):
            held.accept()[0].close()


async def test_trouble_of_one_connection_keeps_nobody_waiting(
    door: Door, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "REST_S", 3600.0)
    door.acceptor.open()
    door.fail(errno.ECONNABORTED, errno.EPROTO)
    door.connect()
    await until(lambda: len(door.taken) == 1)
    assert door.acceptor._rest is None
    door.acceptor.close(is_last=True)


async def test_after_a_rest_it_goes_on_and_can_be_closed(
    door: Door, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "REST_S", 0.02)
    door.acceptor.open()
    door.fail(errno.EMFILE, errno.ENFILE)
    door.connect()
    await until(lambda: len(door.taken) == 1)
    door.acceptor.close(is_last=True)
    assert not door.is_watched


async def test_a_close_during_a_rest_is_the_end(
    door: Door, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "REST_S", 3600.0)  # a short one may be over before the test looks
    door.acceptor.open()
    door.fail(errno.EMFILE)
    door.connect()
    await until(lambda: door.acceptor._rest is not None)
    timers = door.acceptor._rest
    door.acceptor.close(is_last=True)
    assert timers is not None
    assert timers.cancelled()
    assert not door.is_watched


async def test_each_shortage_of_descriptors_is_told_once(
    door: Door, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(acceptor.log, "warning", lambda event, **_: told.append(event))
    door.acceptor.open()
    enough = door.acceptor._most
    for shortage in (1, 2):
        door.acceptor._most = 0
        door.connect(3)
        await until(partial(_has, door.refused, 3 * shortage))
        assert told == ["no_descriptors"] * shortage
        door.acceptor._most = enough
        door.connect()
        await until(partial(_has, door.taken, shortage))
    assert set(door.refused) == {"no_descriptors"}
    door.acceptor.close(is_last=True)


class Sharing:
    """Two acceptors of one socket that share its connections evenly, as two processes do."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.socket.setblocking(False)
        self.opened = [0, 0]
        self.taken: list[list[socket.socket]] = [[], []]
        self.acceptors = [self._acceptor(place) for place in range(2)]
        self.clients: list[socket.socket] = []

    def _acceptor(self, place: int) -> Acceptor:
        share = EvenShare(self.opened, place)

        def take(sock: socket.socket, _: Any) -> None:
            self.taken[place].append(sock)
            share.note(len(self.taken[place]))

        return Acceptor(self.socket.dup(), "floor", take, lambda _: None, share)

    def connect(self, count: int) -> None:
        address = self.socket.getsockname()
        self.clients += [socket.create_connection(address, timeout=20) for _ in range(count)]

    def close(self) -> None:
        mine = [one._socket for one in self.acceptors]
        for sock in (self.socket, *mine, *self.clients, *self.taken[0], *self.taken[1]):
            sock.close()


@pytest.fixture
def sharing() -> Iterator[Sharing]:
    one = Sharing()
    yield one
    one.close()


async def test_two_that_accept_from_one_socket_take_the_same_number(sharing: Sharing, until: Until) -> None:
    sharing.connect(MOST)  # one alone could take all of them in one turn
    for one in sharing.acceptors:
        one.open()
    await until(lambda: sum(sharing.opened) == MOST)
    assert abs(sharing.opened[0] - sharing.opened[1]) <= 2
    sharing.connect(50 - MOST)
    await until(lambda: sum(sharing.opened) == 50)
    assert abs(sharing.opened[0] - sharing.opened[1]) <= 2
    for number in range(6):
        sharing.connect(1)
        await until(lambda number=number: sum(sharing.opened) == 51 + number)  # type: ignore[misc]
        assert abs(sharing.opened[0] - sharing.opened[1]) <= 2
    for one in sharing.acceptors:
        one.close(is_last=False)


async def test_what_the_other_does_not_take_in_time_is_not_left_waiting(
    sharing: Sharing, until: Until
) -> None:
    sharing.opened[0] = 100
    sharing.acceptors[0].open()  # the other one hangs
    sharing.connect(2 * MOST)
    await until(lambda: len(sharing.taken[0]) == 2 * MOST)
    sharing.acceptors[0].close(is_last=False)


async def test_a_close_while_connections_are_left_to_the_other_is_the_end(
    sharing: Sharing, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "PATIENCE_S", 3600.0)
    sharing.opened[0] = 100
    one, other = sharing.acceptors
    one.open()
    sharing.connect(1)
    await until(lambda: one._rest is not None)
    one.close(is_last=False)
    assert not sharing.taken[0]
    other.open()
    await until(lambda: len(sharing.taken[1]) == 1)
    other.close(is_last=False)
