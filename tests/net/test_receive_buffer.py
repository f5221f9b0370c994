import socket
from collections.abc import Iterator

import pytest

from streamd.net.receive_buffer import ReceiveBuffer
from streamd.net.recvmmsg import BATCH, new_receiver


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reader,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as writer,
    ):
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**21)
        reader.setblocking(False)
        reader.bind(("127.0.0.1", 0))
        writer.connect(reader.getsockname())
        yield reader, writer


def test_the_queue_is_seen_and_a_datagram_in_it_measured(pair: tuple[socket.socket, socket.socket]) -> None:
    reader, writer = pair
    buffer = ReceiveBuffer(reader)
    receive = buffer.measuring(new_receiver(reader))

    def fill(count: int) -> int:
        for _ in range(count):
            writer.send(b"x" * 500)
        return buffer.queue().used_bytes

    used = fill(100)
    assert (
        100 * 500 < used < buffer.queue().max_bytes == reader.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    )
    assert len(receive()[0]) == 100
    assert buffer.queue() == (0, buffer.queue().max_bytes, 100, None), "the buffer was not empty before"
    fill(50)
    receive()
    assert buffer.queue().datagram_bytes == used / 100
    fill(BATCH + 1)
    assert [len(receive()[0]), len(receive()[0])] == [BATCH, 1]
    assert buffer.queue().datagram_bytes == used / 100, "memory of the first batch may not be returned yet"
    for _ in range(10):
        writer.send(b"y" * 9000)
    receive()
    found = buffer.queue()
    assert found.datagrams == 100 + 50 + BATCH + 1 + 10
    assert found.datagram_bytes is not None
    assert found.datagram_bytes > 9000


def test_new_drops_are_counted_once(pair: tuple[socket.socket, socket.socket]) -> None:
    reader, writer = pair
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(100):
        writer.send(b"x" * 500)
    buffer = ReceiveBuffer(reader)
    assert buffer.new_drops() == 0, "those before belong to nobody here"
    for _ in range(100):
        writer.send(b"x" * 500)
    assert buffer.new_drops() == 100
    assert buffer.new_drops() == 0
    buffer._drops = 2**32 - 1
    assert 100 < buffer.new_drops() < 300
