import asyncio
import json
import select
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.components import encoder_of
from streamd.core.batch import Batch
from streamd.core.contracts import SinkContext
from streamd.core.errors import SinkError
from streamd.core.shared import Shared
from streamd.sinks.tcp import Tcp

BatchOf = Callable[..., Batch]


class Receiver:
    """Listens; each connection is the test's to read or to leave."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]
        self.connections: list[socket.socket] = []

    async def accept(self) -> socket.socket:
        async with asyncio.timeout(30):
            connection, _ = await asyncio.get_running_loop().sock_accept(self.listener)
        connection.setblocking(False)
        self.connections.append(connection)
        return connection

    @staticmethod
    async def read(connection: socket.socket, until: bytes | None = None) -> bytes:
        """To the end, or to bytes that end so."""
        got = b""
        async with asyncio.timeout(30):
            while until is None or not got.endswith(until):
                data = await asyncio.get_running_loop().sock_recv(connection, 65536)
                if not data:
                    break
                got += data
        return got

    @staticmethod
    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def close(self) -> None:
        for connection in (self.listener, *self.connections):
            connection.close()


@pytest.fixture
def receiver() -> Any:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
async def sink(receiver: Receiver, bench: Any, tmp_path: Path) -> AsyncIterator[Callable[..., Tcp]]:
    opened: list[Tcp] = []

    def make(**config: Any) -> Tcp:
        address = f"127.0.0.1:{receiver.port}"
        settings = Tcp.Config.model_validate(
            {"type": "tcp", "address": address, "connect_timeout": "60s", **config}
        )
        context = SinkContext("out", {}, tmp_path, bench.office, Shared(), encoder=encoder_of(settings))
        opened.append(Tcp(settings, context))
        return opened[-1]

    yield make
    receiver.close()
    for each in opened:
        await each.close()


async def closed_in_order(out: Tcp, receiver: Receiver, connection: socket.socket) -> bytes:
    """All that the sink sent until it ended the connection, answered with an end."""
    closing = asyncio.create_task(out.close())
    got = await receiver.read(connection)
    connection.close()
    await closing
    return got


async def our_end_has_come(connection: socket.socket) -> None:
    """Until our end has come, with what stands before it left unread."""
    ended = select.poll()
    ended.register(connection, select.POLLRDHUP)
    async with asyncio.timeout(30):
        while not ended.poll(0):
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("framing", "sent"),
    [("newline", b'{"n":1}\n{"n":"\\u20ac"}\n'), ("octet_counting", b'7 {"n":1}11 {"n":"\\u20ac"}')],
)
async def test_frames_are_what_the_other_end_expects(
    framing: str, sent: bytes, sink: Any, receiver: Receiver, batch_of: BatchOf
) -> None:
    out = sink(framing=framing)
    await out.open()
    written = await out.write([batch_of([{"n": 1}]), batch_of([{"n": "€"}, {"n": float("nan")}])])
    assert written.rejected_counts == [0, 1]
    connection = await receiver.accept()
    expected = sent.replace(b"\\u20ac", "€".encode())
    assert await closed_in_order(out, receiver, connection) == expected
    assert out.context.counters.numbers() == {}


async def test_each_connection_begins_with_the_header_of_the_format(
    sink: Any, receiver: Receiver, batch_of: BatchOf
) -> None:
    out = sink(encoder={"type": "csv", "columns": ["n"]}, metadata=True)
    await out.open()
    for _ in range(2):
        for number in (1, 2):
            await out.write([batch_of([{"n": number}])])
        connection = await receiver.accept()
        sent = (await closed_in_order(out, receiver, connection)).decode().split("\r\n")
        assert [line.partition(",")[0] for line in sent] == ["n", "1", "2", ""]
        assert sent[0] == "n,_received_at,_source,_peer"


async def test_nobody_there_is_tried_again_and_nothing_is_sent_twice(sink: Any, batch_of: BatchOf) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    out = sink(address=f"127.0.0.1:{port}")
    batches = [batch_of([{"n": 1}])]
    for _ in range(3):
        with pytest.raises(SinkError, match="connect"):
            await out.write(batches)
    assert out.context.counters.numbers() == {}


async def test_a_name_that_does_not_exist_is_a_reason(sink: Any, batch_of: BatchOf) -> None:
    out = sink(address="nowhere.invalid:1")
    with pytest.raises(SinkError, match=r"resolve|connect"):
        await out.write([batch_of([{"n": 1}])])


async def test_a_peer_that_read_all_and_closed_first_is_not_known_to_have_read(
    sink: Any, receiver: Receiver, batch_of: BatchOf
) -> None:
    out = sink()
    for number in range(3):
        await out.write([batch_of([{"n": number}])])
        connection = await receiver.accept()
        assert await receiver.read(connection, b"\n") == b'{"n":%d}\n' % number
        connection.close()
    await out.close()
    assert out.context.counters.numbers() == {"unconfirmed": 3}


async def test_a_peer_that_shuts_down_its_side_unread_confirms_nothing_whether_it_closes_later_or_not(
    sink: Any, receiver: Receiver, batch_of: BatchOf
) -> None:
    out = sink()
    for closes in (True, False):
        await out.write([batch_of([{"n": number} for number in range(500)])])
        connection = await receiver.accept()
        connection.shutdown(socket.SHUT_WR)
        if closes:
            connection.close()
    await out.close()
    assert out.context.counters.numbers() == {"unconfirmed": 1000}


async def test_a_peer_that_shuts_down_its_side_and_reads_on_after_our_end_confirms_nothing(
    sink: Any, receiver: Receiver, batch_of: BatchOf
) -> None:
    out = sink()
    await out.write([batch_of([{"n": 1}] * 5)])
    connection = await receiver.accept()
    connection.shutdown(socket.SHUT_WR)
    assert (await closed_in_order(out, receiver, connection)).count(b"\n") == 5
    assert out.context.counters.numbers() == {"unconfirmed": 5}


@pytest.mark.parametrize("ended_by_us", [False, True])
async def test_a_peer_that_reads_half_and_closes_confirms_nothing(
    ended_by_us: bool, sink: Any, receiver: Receiver, batch_of: BatchOf
) -> None:
    out = sink()
    await out.write([batch_of([{"n": 1}] * 10)])
    connection = await receiver.accept()
    assert await asyncio.get_running_loop().sock_recv(connection, 40) == b'{"n":1}\n' * 5
    closing = asyncio.create_task(out.close())
    if ended_by_us:
        await our_end_has_come(connection)
    connection.close()
    await closing
    assert out.context.counters.numbers() == {"unconfirmed": 10}


READER = """
import socket, sys, time
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as to_test:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        to_test.sendall(b"%d\\n" % listener.getsockname()[1])
        sender, _ = listener.accept()
        read = 0
        while read < int(sys.argv[2]):
            read += len(sender.recv(int(sys.argv[2]) - read))
        to_test.sendall(b"read\\n")
        time.sleep(60)
"""


@pytest.mark.parametrize("read_bytes", [0, 40, 80])
async def test_a_peer_that_is_killed_confirms_nothing_however_much_it_had_read(
    read_bytes: int, sink: Any, receiver: Receiver, batch_of: BatchOf
) -> None:
    peer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", READER, str(receiver.port), str(read_bytes)
    )
    told = await receiver.accept()
    port = int(await receiver.read(told, b"\n"))
    out = sink(address=f"127.0.0.1:{port}")
    await out.write([batch_of([{"n": 1}] * 10)])
    assert await receiver.read(told, b"\n") == b"read\n"
    peer.kill()
    await peer.wait()
    await out.close()
    assert out.context.counters.numbers() == {"unconfirmed": 10}


async def test_what_an_idle_connection_carried_is_confirmed_without_another_write(
    sink: Any, receiver: Receiver, batch_of: BatchOf
) -> None:
    out = sink(confirm_every="50ms")
    await out.write([batch_of([{"n": 1}] * 7)])
    first = await receiver.accept()
    assert (await receiver.read(first)).count(b"\n") == 7
    first.close()
    await out.write([batch_of([{"n": 2}])])
    second = await receiver.accept()
    assert await closed_in_order(out, receiver, second) == b'{"n":2}\n'
    assert out.context.counters.numbers() == {}


async def test_a_close_during_which_the_end_falls_due_confirms_what_the_connection_carried(
    sink: Any, receiver: Receiver, batch_of: BatchOf
) -> None:
    out = sink(confirm_every="20ms", connect_timeout="90s")
    await out.write([batch_of([{"n": 1}] * 3)])
    due = out._confirm_due
    connection = await receiver.accept()
    closing = asyncio.create_task(out.close())
    assert (await receiver.read(connection)).count(b"\n") == 3
    while asyncio.get_running_loop().time() <= due.when() + 0.02:
        await asyncio.sleep(0.01)
    connection.close()
    await asyncio.wait_for(closing, 30)  # long before `connect_timeout`
    assert out.context.counters.numbers() == {}


async def test_a_reset_counts_all_that_the_connection_carried(
    sink: Any, receiver: Receiver, batch_of: BatchOf
) -> None:
    out = sink()
    await out.write([batch_of([{"n": number} for number in range(5)])])
    receiver.reset(await receiver.accept())
    await out.write([batch_of([{"n": 5}])])
    connection = await receiver.accept()
    assert out.context.counters.numbers() == {"unconfirmed": 5}
    assert await closed_in_order(out, receiver, connection) == b'{"n":5}\n'
    assert out.context.counters.numbers() == {"unconfirmed": 5}


async def test_a_reset_between_the_connection_and_the_look_at_its_peer_is_a_failed_connection(
    sink: Any, receiver: Receiver, batch_of: BatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ResetAtOnce(socket.socket):
        def getpeername(self) -> Any:
            receiver.reset(receiver.listener.accept()[0])
            return super().getpeername()

    out = sink()
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", ResetAtOnce)
        with pytest.raises(SinkError, match="reset by peer") as failed:
            await out.write([batch_of([{"n": 1}])])
    assert failed.value.reason == "connect"
    await out.write([batch_of([{"n": 1}])])
    assert await closed_in_order(out, receiver, await receiver.accept()) == b'{"n":1}\n'
    assert out.context.counters.numbers() == {}


async def test_a_reset_just_before_the_orderly_end_confirms_nothing(
    sink: Any, receiver: Receiver, batch_of: BatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ResetBeforeTheEnd(socket.socket):
        def shutdown(self, how: int) -> None:
            receiver.reset(receiver.connections[0])
            super().shutdown(how)

    monkeypatch.setattr(socket, "socket", ResetBeforeTheEnd)
    lost: list[str] = []
    log = "streamd.sending.stream_sink.log.warning"
    monkeypatch.setattr(log, lambda _, **fields: lost.append(fields["reason"]))
    out = sink()
    await out.write([batch_of([{"n": 1}] * 3)])
    await receiver.accept()
    await out.close()
    assert lost == ["connection"]
    assert out.context.counters.numbers() == {"unconfirmed": 3}


async def test_an_orderly_end_confirms_and_a_later_reset_counts_only_what_came_after(
    sink: Any, receiver: Receiver, batch_of: BatchOf
) -> None:
    out = sink(confirm_every="1us")
    await out.write([batch_of([{"n": 1}] * 7)])
    first = await receiver.accept()
    writing = asyncio.create_task(out.write([batch_of([{"n": 2}] * 2)]))
    assert (await receiver.read(first)).count(b"\n") == 7
    first.close()
    await writing
    receiver.reset(await receiver.accept())
    await out.close()
    assert out.context.counters.numbers() == {"unconfirmed": 2}


async def test_a_peer_that_does_not_end_its_side_confirms_nothing(
    sink: Any, receiver: Receiver, batch_of: BatchOf
) -> None:
    out = sink(connect_timeout="50ms")
    await out.write([batch_of([{"n": 1}] * 3)])
    await receiver.accept()
    await out.close()
    assert out.context.counters.numbers() == {"unconfirmed": 3}


async def test_a_close_while_an_end_is_under_way_waits_for_the_same_answer(
    sink: Any, receiver: Receiver, batch_of: BatchOf
) -> None:
    out = sink(confirm_every="1us", connect_timeout="60s")
    await out.write([batch_of([{"n": 1}] * 3)])
    connection = await receiver.accept()
    await our_end_has_come(connection)
    assert (await closed_in_order(out, receiver, connection)).count(b"\n") == 3
    assert out.context.counters.numbers() == {}


async def test_a_break_in_the_middle_of_a_write_sends_the_rest_on_the_next_connection_and_no_record_twice(
    sink: Any, receiver: Receiver, batch_of: BatchOf
) -> None:
    out = sink()
    await out.write([batch_of([{"before": number} for number in range(5)])])
    first = await receiver.accept()
    assert (await receiver.read(first, b'{"before":4}\n')).count(b"\n") == 5
    assert out.progress == len('{"before":0}\n') * 5
    records = [{"n": number, "fill": "x" * 1000} for number in range(20_000)]
    batches = [batch_of(records)]
    writing = asyncio.create_task(out.write(batches))
    got = b""
    while len(got) < 1_000_000:
        got += await asyncio.get_running_loop().sock_recv(first, 65536)
    assert out.progress >= len(got)
    receiver.reset(first)
    with pytest.raises(SinkError, match="connection"):
        await writing
    carried = out.context.counters["unconfirmed", ""]  # counted at once, not when it is tried again
    writing = asyncio.create_task(out.write(batches))
    second = await receiver.accept()
    rest = await receiver.read(second, b'"n":19999,"fill":"' + b"x" * 1000 + b'"}\n')
    assert (await writing).rejected_counts == [0]
    await out.write([batch_of([{"after": number} for number in range(3)])])
    assert await closed_in_order(out, receiver, second) == b'{"after":0}\n{"after":1}\n{"after":2}\n'
    one = [json.loads(line)["n"] for line in got.split(b"\n")[:-1]]
    two = [json.loads(line)["n"] for line in rest.splitlines()]
    assert one == list(range(len(one)))
    assert two == list(range(two[0], 20_000))
    lost = two[0] - len(one)
    assert 0 < lost <= out.context.counters["unconfirmed", ""] == carried == 5 + two[0]


async def test_a_peer_that_never_reads_stops_the_write_and_nothing_else(
    sink: Any, receiver: Receiver, batch_of: BatchOf
) -> None:
    out = sink(connect_timeout="50ms")
    assert out.progress == 0
    batches = [batch_of([{"fill": "x" * 100_000}] * 300)]
    writing = asyncio.create_task(out.write(batches))
    await receiver.accept()
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < 0.3:
        before = loop.time()
        await asyncio.sleep(0.001)
        assert loop.time() - before < 5, "a write that blocks never ends"
    assert not writing.done()
    assert 0 < out.progress < 300 * 100_000
    await out.close()
    assert writing.cancelled()
    assert 0 < out.context.counters["unconfirmed", ""] < 300


async def test_what_a_peer_says_is_not_listened_to(sink: Any, receiver: Receiver, batch_of: BatchOf) -> None:
    out = sink()
    await out.write([batch_of([{"n": 0}])])
    connection = await receiver.accept()
    talking = asyncio.create_task(
        asyncio.get_running_loop().sock_sendall(connection, b"HTTP/1.1 400\r\n" * 10_000)
    )
    for number in range(1, 50):
        await out.write([batch_of([{"n": number}])])
    got = await closed_in_order(out, receiver, connection)
    talking.cancel()
    assert got.count(b"\n") == 50


@pytest.mark.parametrize(
    "config",
    [
        {"address": "127.0.0.1:0"},
        {"address": "somewhere"},
        {"framing": "length_prefix"},
        {"connect_timeout": "0s"},
        {"confirm_every": "0s"},
    ],
)
async def test_what_cannot_be_meant_is_refused(config: dict[str, Any], sink: Any) -> None:
    with pytest.raises(ValidationError):
        sink(**config)
