"""The sink `unix`, and `sending/unix_sinks.py`."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.components import encoder_of
from streamd.core.batch import Batch
from streamd.core.contracts import SinkContext
from streamd.core.errors import EnvironmentFault, SinkError
from streamd.core.shared import Shared
from streamd.sinks.unix import Unix

BatchOf = Callable[..., Batch]
OPTIONS = [{"path": "streams.sock"}, {"path": "datagrams.sock", "mode": "datagram"}]


@contextlib.contextmanager
def bound(path: Path, kind: socket.SocketKind = socket.SOCK_DGRAM) -> Iterator[socket.socket]:
    """A receiver's socket; its file is removed with it."""
    with socket.socket(socket.AF_UNIX, kind) as receiver:
        receiver.bind(str(path))
        if kind == socket.SOCK_STREAM:
            receiver.listen()
        receiver.settimeout(30)
        try:
            yield receiver
        finally:
            path.unlink()


@contextlib.asynccontextmanager
async def peer(folder: Path) -> AsyncIterator[dict[str, Any]]:
    """Receivers of both kinds, which read whatever is sent to them."""

    def read_all(receiver: socket.socket) -> None:
        while receiver.recv(65536):
            pass

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_unix_server(swallow, folder / "streams.sock")
    with bound(folder / "datagrams.sock") as receiver:
        receiver.settimeout(None)
        reading = threading.Thread(target=read_all, args=(receiver,))
        reading.start()
        try:
            yield {}
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
                await asyncio.to_thread(last.sendto, b"", str(folder / "datagrams.sock"))
            await asyncio.to_thread(reading.join)
            server.close()


def no_socket(folder: Path) -> None:
    for options in OPTIONS:
        path = folder / options["path"]
        path.unlink(missing_ok=True)
        path.touch()


REFUSALS = {"there is a file that is no socket": no_socket}


@pytest.fixture
async def sink(bench: Any, tmp_path: Path) -> AsyncIterator[Callable[..., Unix]]:
    made: list[Unix] = []

    def make(**config: Any) -> Unix:
        settings = Unix.Config.model_validate({"type": "unix", "path": "in.sock", **config})
        context = SinkContext("out", {}, tmp_path, bench.office, Shared(), encoder=encoder_of(settings))
        made.append(Unix(settings, context))
        return made[-1]

    yield make
    for out in made:
        await out.close()


async def ended_and_read(out: Unix, connection: socket.socket) -> bytes:
    """All that the sink sent until it ended the connection, answered with an end."""
    closing = asyncio.create_task(out.close())
    got = b""
    while data := await asyncio.to_thread(connection.recv, 65536):
        got += data
    connection.close()
    await closing
    return got


async def test_a_stream_that_the_receiver_reads_to_its_end_is_confirmed(
    sink: Any, tmp_path: Path, batch_of: BatchOf
) -> None:
    out = sink()
    with bound(tmp_path / "in.sock", socket.SOCK_STREAM) as receiver:
        await out.open()
        written = await out.write([batch_of([{"n": 1}, {"n": float("nan")}, {"n": 2}])])
        assert written.rejected_counts == [1]
        connection, _ = receiver.accept()
        assert out.progress == 16
        assert await ended_and_read(out, connection) == b'{"n":1}\n{"n":2}\n'
    assert out.context.counters.numbers() == {}


@pytest.mark.parametrize("reads", [True, False])
async def test_a_stream_that_the_receiver_ends_first_is_not_confirmed(
    reads: bool, sink: Any, tmp_path: Path, batch_of: BatchOf
) -> None:
    out = sink()
    with bound(tmp_path / "in.sock", socket.SOCK_STREAM) as receiver:
        await out.write([batch_of([{"n": 1}, {"n": 2}])])
        connection, _ = receiver.accept()
        if reads:
            connection.recv(65536)
        connection.close()
        await out.write([batch_of([{"n": 3}])])  # over a new connection
        assert out.context.counters.numbers() == {"unconfirmed": 2}
        connection, _ = receiver.accept()
        assert await ended_and_read(out, connection) == b'{"n":3}\n'


async def test_a_receiver_that_ends_its_side_without_reading_confirms_nothing(
    sink: Any, tmp_path: Path, batch_of: BatchOf
) -> None:
    out = sink(connect_timeout="60s")
    with bound(tmp_path / "in.sock", socket.SOCK_STREAM) as receiver:
        await out.write([batch_of([{"n": 1}])])
        connection, _ = receiver.accept()
        closing = asyncio.create_task(out.close())
        await asyncio.sleep(0)
        connection.shutdown(socket.SHUT_WR)
        await closing
        assert out.context.counters.numbers() == {"unconfirmed": 1}
        assert connection.recv(65536) == b'{"n":1}\n'
        connection.close()


async def test_many_records_wait_for_a_receiver_that_is_slow_to_read(
    sink: Any, tmp_path: Path, batch_of: BatchOf
) -> None:
    records = [{"n": number} for number in range(50_000)]
    with bound(tmp_path / "in.sock", socket.SOCK_STREAM) as receiver:
        out = sink()
        writing = asyncio.create_task(out.write([batch_of(records)]))
        connection, _ = await asyncio.to_thread(receiver.accept)
        got = b""
        while got.count(b"\n") < len(records):
            got += await asyncio.to_thread(connection.recv, 1 << 20)
        await writing
        await ended_and_read(out, connection)
    assert got.splitlines()[-1] == b'{"n":49999}'
    assert out.context.counters.numbers() == {}


@pytest.mark.parametrize("mode", ["stream", "datagram"])
async def test_a_receiver_that_is_not_there_yet_is_waited_for(
    mode: str, sink: Any, tmp_path: Path, batch_of: BatchOf
) -> None:
    out, batches = sink(mode=mode), [batch_of([{"n": 1}])]
    await out.open()
    with pytest.raises(SinkError, match=r"/in\.sock: No such file"):
        await out.write(batches)
    kind = socket.SOCK_STREAM if mode == "stream" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_UNIX, kind) as gone:
        gone.bind(str(tmp_path / "in.sock"))
    await sink(mode=mode).open()
    with pytest.raises(SinkError, match=r"nothing listens there|Connection refused"):
        await out.write(batches)
    (tmp_path / "in.sock").unlink()
    with bound(tmp_path / "in.sock", kind) as receiver:
        await out.write(batches)
        if mode == "datagram":
            assert receiver.recv(65536) == b'{"n":1}'
        else:
            connection, _ = receiver.accept()
            assert await ended_and_read(out, connection) == b'{"n":1}\n'


async def test_a_receiver_of_datagrams_that_does_not_read_is_waited_for_and_nothing_is_lost(
    sink: Any, tmp_path: Path, batch_of: BatchOf
) -> None:
    out = sink(mode="datagram")
    with bound(tmp_path / "in.sock") as receiver:
        writing = asyncio.create_task(out.write([batch_of([{"n": number} for number in range(2000)])]))
        got = await asyncio.to_thread(lambda: [receiver.recv(65536) for _ in range(2000)])
        await writing
    assert (got[0], got[-1], out.progress) == (b'{"n":0}', b'{"n":1999}', 2000)


async def test_a_receiver_of_datagrams_that_was_started_again_is_found(
    sink: Any, tmp_path: Path, batch_of: BatchOf
) -> None:
    out = sink(mode="datagram", pack=True, max_datagram="15B")
    with bound(tmp_path / "in.sock") as receiver:
        await out.write([batch_of([{"n": 1}])])
        assert receiver.recv(65536) == b'{"n":1}'
    batches = [batch_of([{"n": 2}, {"n": 3}, {"n": 4}])]
    with pytest.raises(SinkError, match="nothing listens there"):
        await out.write(batches)
    with bound(tmp_path / "in.sock") as receiver:
        await out.write(batches)
        assert [receiver.recv(65536) for _ in range(2)] == [b'{"n":2}\n{"n":3}', b'{"n":4}']
    assert out.context.counters.numbers() == {}


async def test_the_longest_datagram_is_sent_and_a_longer_one_is_a_dead_letter(
    sink: Any, tmp_path: Path, batch_of: BatchOf, bench: Any
) -> None:
    out = sink(mode="datagram", max_datagram="200KiB", encoder="text")
    with bound(tmp_path / "in.sock") as receiver:
        written = await out.write([batch_of([{"message": "a" * (204_801 - n)} for n in range(2)])])
        assert [*map(list, written.rejected)] == [[0]]
        assert len(receiver.recv(1 << 20)) == 204_800
    assert [letter.reason for letter in bench.office.letters] == ["too_long"]


@pytest.mark.parametrize(("mode", "other"), [("stream", "datagram"), ("datagram", "stream")])
async def test_a_receiver_with_the_other_kind_of_socket_is_refused_and_sees_no_connection(
    mode: str, other: str, sink: Any, tmp_path: Path
) -> None:
    kinds = {"stream": socket.SOCK_STREAM, "datagram": socket.SOCK_DGRAM}
    with bound(tmp_path / "in.sock", kinds[other]), pytest.raises(EnvironmentFault) as refused:
        sink(mode=mode).rehearse()
    assert str(refused.value).endswith(f'has a socket of the kind {other}: set mode = "{other}"')
    with bound(tmp_path / "in.sock", kinds[mode]) as receiver:
        await sink(mode=mode).open()
        receiver.setblocking(False)
        with pytest.raises(BlockingIOError):
            receiver.recv(1) if mode == "datagram" else receiver.accept()


async def test_a_path_that_no_socket_can_have_is_refused(sink: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, why in (
        ("x" * 108, "longer than 107 bytes: choose a shorter one"),
        ("file", "no socket: check the path"),
        ("file/in.sock", "a part of its folder's path is a file"),
    ):
        with pytest.raises(EnvironmentFault, match=why):
            await sink(path=path).open()


@pytest.mark.parametrize(
    "config",
    [
        {"mode": "datagram", "framing": "nul"},
        {"mode": "datagram", "confirm_every": "5s"},
        {"pack": True},
        {"max_datagram": "1KiB"},
        {"mode": "datagram", "max_datagram": "201KiB"},
        {"path": "a\0b"},
    ],
)
async def test_what_cannot_be_meant_is_refused(config: dict[str, Any], sink: Any) -> None:
    with pytest.raises(ValidationError):
        sink(**config)
    sink(mode="datagram", framing=None, confirm_every="10s")  # written out, and not changed
