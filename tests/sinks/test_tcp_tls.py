"""Also about `net/client_tls.py`."""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.core.batch import Batch
from streamd.core.contracts import SinkContext
from streamd.core.errors import EnvironmentFault, SinkError
from streamd.core.shared import Shared
from streamd.sinks.tcp import Tcp

BatchOf = Callable[..., Batch]
Serve = Callable[[ssl.SSLContext], "Server"]
TCP_CLOSE = b"\x07"
"""The state of a connection that was reset."""


@pytest.fixture(scope="module")
def authority(new_authority: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = new_authority(tmp_path_factory.mktemp("certificates"))
    made.issue("server")
    made.issue("client", "DNS:first")
    return made


def server_context(authority: Any, name: str = "server", *, mutual: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.folder / f"{name}.pem", authority.folder / f"{name}.key")
    if mutual:
        context.load_verify_locations(authority.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class Server(threading.Thread):
    """Python's TLS, a connection at a time: reads to the end, then ends the connection in order."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(daemon=True)
        self.got: list[bytes] = []
        self.shown: list[bytes | None] = []
        self.answers = True
        """False: the connections after the first, empty one are closed without a word in TLS."""
        self.reads_bytes = 2**40
        """So much of them is read; then they are reset."""
        self.ends_first = False
        """True: they are ended inside TLS as soon as they are made, and read to their end all the same."""
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with sock, contextlib.suppress(OSError):
                    self._talk(self._context.wrap_socket(sock, server_side=True))

    def _talk(self, session: ssl.SSLSocket) -> None:
        with session:
            session.settimeout(10)
            self.shown.append(session.getpeercert(binary_form=True))
            number = len(self.got)
            if number > 0 and self.ends_first:
                session.setblocking(False)
                with contextlib.suppress(ssl.SSLError):  # what it awaits then, or finds already
                    session.unwrap()
                session.setblocking(True)
            self.got.append(b"")
            while data := session.recv(65536):
                self.got[number] += data
                if len(self.got[number]) > self.reads_bytes:
                    self.reads_bytes = 2**40
                    session.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
            if number == 0 or self.answers:
                session.unwrap()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # which wakes the accept
        self.join(20)
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    listening: list[Server] = []

    def begin(context: ssl.SSLContext) -> Server:
        listening.append(Server(context))
        listening[-1].start()
        return listening[-1]

    yield begin
    for each in listening:
        each.close()


@pytest.fixture
async def sink(authority: Any, bench: Any, tmp_path: Path) -> AsyncIterator[Callable[..., Tcp]]:
    opened: list[Tcp] = []

    def make(port: int, **tls: Any) -> Tcp:
        options = {"ca": "ca.pem", "handshake_timeout": "5s", **tls}
        settings = {"type": "tcp", "address": f"127.0.0.1:{port}", "tls": options}
        context = SinkContext("out", {}, tmp_path, bench.office, Shared(), base_dir=authority.folder)
        opened.append(Tcp(Tcp.Config.model_validate(settings), context))
        return opened[-1]

    yield make
    for each in opened:
        await each.close()


async def refused(out: Tcp, batch: Batch, why: str) -> None:
    for _ in range(2):
        with pytest.raises(SinkError, match=why) as failed:
            await out.write([batch])
        assert failed.value.reason == "tls_failed"
    assert out.context.counters.numbers() == {}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("own", [{}, {"cert": "client.pem", "key": "client.key"}])
async def test_what_was_sent_through_tls_is_confirmed_by_an_end_in_order(
    version: ssl.TLSVersion, own: dict[str, str], sink: Any, serve: Serve, authority: Any, batch_of: BatchOf
) -> None:
    context = server_context(authority, mutual=bool(own))
    context.maximum_version = version
    server = serve(context)
    out = sink(server.port, **own)
    await out.open()
    records = [{"n": n, "fill": "x" * 100} for n in range(10_000)]
    assert (await out.write([batch_of(records)])).rejected_counts == [0]
    assert (await out.write([batch_of([{"n": 10_000}])])).rejected_counts == [0]
    await out.close()
    assert [got.count(b"\n") for got in server.got] == [0, 10_001]
    assert server.got[-1].endswith(b'\n{"n":10000}\n')
    assert out.context.counters.numbers() == {}


async def test_a_peer_that_ends_the_connection_and_not_its_tls_confirms_nothing(
    sink: Any, serve: Serve, authority: Any, batch_of: BatchOf
) -> None:
    server = serve(server_context(authority))
    server.answers = False
    out = sink(server.port)
    await out.write([batch_of([{"n": 1}] * 7)])
    await out.close()
    assert server.got[1].count(b"\n") == 7
    assert out.context.counters.numbers() == {"unconfirmed": 7}


async def test_a_peer_that_ends_its_tls_first_confirms_nothing_and_the_next_connection_goes_on(
    sink: Any, authority: Any, batch_of: BatchOf, until: Any
) -> None:
    ended: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if line := await reader.readline():
            ended.append(line)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=server_context(authority))
    out = sink(server.sockets[0].getsockname()[1])
    for number in (1, 2):
        await out.write([batch_of([{"n": number}])])
        await until(lambda number=number: len(ended) == number)
    await out.close()
    server.close()
    assert ended == [b'{"n":1}\n', b'{"n":2}\n']
    assert out.context.counters.numbers() == {"unconfirmed": 2}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_peer_that_ends_its_tls_with_the_handshake_confirms_nothing(
    version: ssl.TLSVersion, sink: Any, serve: Serve, authority: Any, batch_of: BatchOf, until: Any
) -> None:
    context = server_context(authority)
    context.maximum_version = version
    server = serve(context)
    server.ends_first = True
    out = sink(server.port)
    await out.write([batch_of([{"n": 1}] * 5)])
    await until(lambda: len(server.got) == 2)
    await out.close()
    assert out.context.counters.numbers() == {"unconfirmed": 5}


async def test_a_break_in_the_middle_sends_the_rest_on_the_next_connection_and_no_record_twice(
    sink: Any, serve: Serve, authority: Any, batch_of: BatchOf, until: Any
) -> None:
    server = serve(server_context(authority))
    server.reads_bytes = 1_000_000
    out = sink(server.port)
    batches = [batch_of([{"n": n, "fill": "x" * 1000} for n in range(20_000)])]
    with pytest.raises(SinkError, match="connection"):
        await out.write(batches)
    sent_first = out.context.counters["unconfirmed", ""]
    await out.write(batches)
    rest_bytes = sum(len(b'{"n":%d,"fill":"%b"}\n' % (n, b"x" * 1000)) for n in range(sent_first, 20_000))
    await until(lambda: len(server.got[-1]) == rest_bytes)  # else a slow machine could make the close wait
    await out.close()
    one, two = (
        [int(line[5:].split(b",")[0]) for line in part.split(b"\n")[:-1]] for part in server.got[1::2]
    )
    assert one == list(range(len(one)))
    assert two == list(range(sent_first, 20_000))
    assert 0 < len(one) <= sent_first == out.context.counters["unconfirmed", ""]


@pytest.mark.parametrize("name", ["elsewhere.example", "10.0.0.1"])
async def test_a_certificate_for_another_name_is_refused(
    name: str, sink: Any, serve: Serve, authority: Any, batch_of: BatchOf
) -> None:
    server = serve(server_context(authority))
    await refused(sink(server.port, server_name=name), batch_of([{"n": 1}]), "not valid for")
    out = sink(server.port, server_name="localhost")
    await out.write([batch_of([{"n": 1}])])
    await out.close()
    assert server.got == [b"", b'{"n":1}\n']


@pytest.mark.parametrize("trusting", ["another authority", "the system"])
async def test_a_certificate_of_another_authority_is_refused(
    trusting: str,
    sink: Any,
    serve: Serve,
    authority: Any,
    batch_of: BatchOf,
    new_authority: Any,
    tmp_path: Path,
) -> None:
    server = serve(server_context(authority))
    ca = str(new_authority(tmp_path).ca) if trusting == "another authority" else "system"
    await refused(sink(server.port, ca=ca), batch_of([{"n": 1}]), "certificate is not trusted")
    assert server.got == []


async def test_an_expired_certificate_is_refused(
    sink: Any, serve: Serve, authority: Any, batch_of: BatchOf
) -> None:
    authority.issue("old", days=-1)
    server = serve(server_context(authority, "old"))
    await refused(sink(server.port), batch_of([{"n": 1}]), "expired")


async def test_one_certificate_that_is_named_is_trusted_for_itself(
    sink: Any, serve: Serve, authority: Any, batch_of: BatchOf
) -> None:
    server = serve(server_context(authority))
    out = sink(server.port, ca="server.pem")
    await out.write([batch_of([{"n": 1}])])
    await out.close()
    assert server.got == [b"", b'{"n":1}\n']


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shown", [None, "stranger"])
async def test_a_peer_that_does_not_take_our_certificate_costs_no_record(
    version: ssl.TLSVersion,
    shown: str | None,
    sink: Any,
    serve: Serve,
    authority: Any,
    batch_of: BatchOf,
    new_authority: Any,
    tmp_path: Path,
) -> None:
    cert, key = new_authority(tmp_path).issue("stranger")
    context = server_context(authority, mutual=True)
    context.maximum_version = version
    server = serve(context)
    own = {} if shown is None else {"cert": str(cert), "key": str(key)}
    await refused(sink(server.port, **own), batch_of([{"n": 1}]), "the peer refused: ")
    assert b"".join(server.got) == b""


async def test_the_alert_of_a_peer_that_has_reset_the_connection_before_its_end_is_the_reason(
    sink: Any, serve: Serve, authority: Any, batch_of: BatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TLS 1.3 the client ends an empty session before the server has looked at its certificate."""

    class EndsAfterTheReset(socket.socket):
        def shutdown(self, how: int) -> None:
            deadline_s = time.monotonic() + 5
            while self.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != TCP_CLOSE:
                assert time.monotonic() < deadline_s
                time.sleep(0.001)
            super().shutdown(how)

    server = serve(server_context(authority, mutual=True))
    monkeypatch.setattr(socket, "socket", EndsAfterTheReset)
    await refused(sink(server.port), batch_of([{"n": 1}]), "the peer refused: ")


async def test_a_certificate_that_was_replaced_is_shown_from_the_next_connection(
    sink: Any, serve: Serve, authority: Any, batch_of: BatchOf
) -> None:
    authority.issue("sensor")
    server = serve(server_context(authority, mutual=True))
    out = sink(server.port, cert="sensor.pem", key="sensor.key")
    for _ in range(2):
        await out.write([batch_of([{"n": 1}])])
        await out.close()
        authority.issue("sensor")
    empty, first, empty_then, then = server.shown
    assert empty == first != then == empty_then
    (authority.folder / "sensor.key").unlink()
    await refused(out, batch_of([{"n": 1}]), r"sensor\.key cannot be read")


class Raw:
    """What answers a ClientHello is the test's."""

    def __init__(self, answer: Callable[[socket.socket], Awaitable[None]]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]
        self.heard: list[bytes] = []
        self._answer = answer
        self._serving = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self.listener)
            with sock, contextlib.suppress(OSError):
                self.heard.append(await loop.sock_recv(sock, 65536))
                await self._answer(sock)
                while sock.fileno() >= 0 and (data := await loop.sock_recv(sock, 65536)):
                    self.heard.append(data)

    async def close(self) -> None:
        self._serving.cancel()
        await asyncio.wait({self._serving})
        self.listener.close()


async def resets(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def closes(sock: socket.socket) -> None:
    sock.close()


async def is_plain(sock: socket.socket) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, b"220 welcome\r\n")


async def is_silent(sock: socket.socket) -> None:
    del sock


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (resets, "reset|closed"),
        (closes, "reset|closed"),
        (is_plain, "does not speak TLS"),
        (is_silent, r"did not agree on TLS in 0\.2 s"),
    ],
)
async def test_a_peer_that_breaks_the_handshake_is_a_reason_and_hears_nothing_in_the_clear(
    answer: Any, why: str, sink: Any, batch_of: BatchOf
) -> None:
    peer = Raw(answer)
    try:
        await refused(sink(peer.port, handshake_timeout="200ms"), batch_of([{"n": "secret"}]), why)
    finally:
        await peer.close()
    assert len(peer.heard) >= 2
    assert b"secret" not in b"".join(peer.heard)


async def test_files_that_are_missing_or_do_not_fit_end_the_start(sink: Any, authority: Any) -> None:
    (authority.folder / "none.pem").write_text("no certificate")
    for options, why in (
        ({"ca": "gone.pem"}, "gone.pem cannot be read"),
        ({"ca": "none.pem"}, "none.pem holds no certificate"),
        ({"cert": "client.pem", "key": "server.key"}, "does not belong to the certificate"),
        ({"ca": {"credential": "ca.pem"}}, "LoadCredential="),
    ):
        with pytest.raises(EnvironmentFault, match=why):
            await sink(1, **options).open()


@pytest.mark.parametrize(
    "options",
    [
        {"cert": "client.pem"},
        {"key": "client.key"},
        {"server_name": ""},
        {"server_name": ".example"},
        {"server_name": "a name"},
        {"min_version": "1.1"},
        {"insecure": True},
        {"ca": None, "server_name": "localhost"},
        {"ca": None, "cert": "client.pem", "key": "client.key"},
        {"handshake_timeout": "0s"},
    ],
)
async def test_what_cannot_be_meant_is_refused(options: dict[str, Any], sink: Any) -> None:
    with pytest.raises(ValidationError):
        sink(1, **options)


async def test_a_name_that_no_certificate_can_have_is_a_reason(sink: Any, batch_of: BatchOf) -> None:
    await refused(sink(1, server_name="x" * 100), batch_of([{"n": 1}]), "no certificate can name that host")
