"""Connections of proxies to a tcp source, as the source and the sender see them."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.components import framers
from streamd.core.contracts import SourceContext
from streamd.core.counters import Counters
from streamd.core.now import Now
from streamd.net import proxied_connection, stream_connection, stream_source
from streamd.sources.tcp import Tcp

Until = Callable[[Callable[[], bool]], Awaitable[None]]
HEADER = b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n"
BINARY = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\x08\x0a\0\0\1\0\x09\1\xbb"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


def tcp(folder: Path = Path(), **options: Any) -> Tcp:
    options = {"type": "tcp", "listen": "127.0.0.1:0", "proxies": ["127.0.0.0/24"]} | options
    config = Tcp.Config.model_validate(options)
    files = Tcp.read_files(config, folder)
    return Tcp(config, SourceContext("floor", Counters(), framers(config.cut_by), files=files))


async def connect(source: Tcp, host: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*source.address, local_addr=(host, 0))


async def closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(30):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


def header_begun(source: Tcp) -> bool:
    """Whether a part of a header is here."""
    headers = [getattr(connection, "_header", None) for connection in source.connections]
    return any(header is not None and header.begun for header in headers)


def counted(source: Tcp, counter: str) -> dict[str, int]:
    return {reason: n for (name, reason), n in source.context.counters.items() if name == counter}


@pytest.mark.parametrize(("header", "client"), [(HEADER, "192.0.2.7:56324"), (BINARY, "192.0.2.8:9")])
async def test_the_client_that_the_proxy_names_is_the_peer(
    capture: Any, until: Until, header: bytes, client: str
) -> None:
    source = tcp()
    await source.open(capture)
    _, whole = await connect(source)
    whole.write(header + b"a\nb")
    await until(lambda: capture.payloads == [b"a"])
    whole.write(b"c\n")
    await until(lambda: capture.payloads == [b"a", b"bc"])
    _, cut = await connect(source)
    for byte in header:
        cut.write(bytes([byte]))
        await cut.drain()
        await asyncio.sleep(0)
    await until(lambda: counted(source, "connections") == {"": 2})
    cut.write(b"d\n")
    await until(lambda: capture.payloads == [b"a", b"bc", b"d"])
    assert capture.peers == [client] * 3
    assert len(source.connections) == 2
    whole.close()
    cut.close()
    await until(lambda: not source.connections)
    await source.stop()
    assert counted(source, "proxy_failed") == {}
    assert (source.limits._total, dict(source.limits._open)) == (0, {})


async def test_a_health_check_of_the_proxy_has_the_address_of_the_proxy(capture: Any, until: Until) -> None:
    source = tcp()
    await source.open(capture)
    _, writer = await connect(source)
    writer.write(LOCAL + b"a\n")
    await until(lambda: capture.payloads == [b"a"])
    host, port = writer.get_extra_info("sockname")
    assert capture.peers == [f"{host}:{port}"]
    writer.close()
    _, silent = await connect(source)
    await until(lambda: len(source.connections) == 1)
    silent.close()
    await until(lambda: not source.connections)
    assert counted(source, "proxy_failed") == {}
    assert counted(source, "connections") == {"": 1}
    await source.stop()


async def test_of_a_connection_that_is_no_proxy_no_header_is_read(capture: Any, until: Until) -> None:
    source = tcp()
    await source.open(capture)
    _, writer = await connect(source, "127.0.1.1")
    writer.write(HEADER + b"a\n")
    await until(lambda: len(capture.payloads) == 2)
    assert capture.payloads == [HEADER.removesuffix(b"\r\n"), b"a"]
    assert capture.peers[0].host == "127.0.1.1"
    writer.close()
    await source.stop()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"a line\n", "missing"),
        (b"PROXY TCP4 here there 1 2\r\nnever\n", "address"),
        (b"PROXY TCP4 192.0.2.7", "incomplete"),
        (BINARY[:-1], "incomplete"),
    ],
)
async def test_a_proxy_without_a_valid_header_is_closed_and_counted(
    capture: Any, until: Until, sent: bytes, reason: str
) -> None:
    source = tcp()
    await source.open(capture)
    reader, writer = await connect(source)
    writer.write(sent)
    if reason == "incomplete":
        writer.write_eof()
    assert await closed(reader)
    await until(lambda: not source.connections)
    assert counted(source, "proxy_failed") == {reason: 1}
    assert counted(source, "connections") == {}
    assert capture.payloads == []
    assert (source.limits._total, dict(source.limits._open)) == (0, {})
    writer.close()
    await source.stop()


async def test_a_header_that_does_not_end_in_time_ends_the_connection(
    capture: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    for module in (stream_source, stream_connection, proxied_connection):
        monkeypatch.setattr(module, "read_clock", lambda: Now(0.0, now[0]))
    monkeypatch.setattr(stream_source, "SWEEP_S", 0.01)
    source = tcp(first_byte_timeout="10s")
    await source.open(capture)
    reader, writer = await connect(source)
    writer.write(HEADER[:20])
    await until(lambda: header_begun(source))
    in_time_reader, in_time = await connect(source)
    in_time.write(HEADER)
    await until(lambda: counted(source, "connections") == {"": 1})
    now[0] += 9.0
    writer.write(HEADER[20:30])
    for connection in list(source.connections):
        connection.check_timeouts(now[0])
    assert len(source.connections) == 2
    now[0] += 1.5
    assert await closed(reader)
    assert counted(source, "proxy_failed") == {"timeout": 1}
    assert await closed(in_time_reader)
    assert counted(source, "connections_closed") == {"first_byte_timeout": 1}
    for each in (writer, in_time):
        each.close()
    await source.stop()


async def test_limits_and_the_allow_list_apply_to_the_client(capture: Any, until: Until) -> None:
    source = tcp(allow=["192.0.2.0/24"], max_connections_per_sender=1, max_connections=4)
    await source.open(capture)
    first_reader, first = await connect(source)
    first.write(HEADER + b"first\n")
    await until(lambda: capture.payloads == [b"first"])
    again_reader, again = await connect(source)
    again.write(HEADER + b"never\n")
    assert await closed(again_reader)
    assert counted(source, "connections_refused") == {"max_connections_per_sender": 1}
    stranger_reader, stranger = await connect(source)
    stranger.write(HEADER.replace(b"192.0.2.7", b"198.51.100.1") + b"never\n")
    assert await closed(stranger_reader)
    own_reader, own = await connect(source)
    own.write(LOCAL)
    assert await closed(own_reader)
    assert counted(source, "connections_refused") == {"max_connections_per_sender": 1, "not_allowed": 2}
    _, second = await connect(source)
    second.write(BINARY + b"second\n")
    await until(lambda: capture.payloads == [b"first", b"second"])
    silent = [await connect(source) for _ in range(3)]
    await until(lambda: counted(source, "connections_refused").get("max_connections") == 1)
    first.close()
    await until(lambda: len(source.connections) == 3)
    assert capture.payloads == [b"first", b"second"]
    for _, writer in silent:
        writer.close()
    await until(lambda: len(source.connections) == 1)
    for each in (again, stranger, own, second):
        each.close()
    await source.stop()
    assert (source.limits._total, dict(source.limits._open)) == (0, {})
    del first_reader


async def test_the_header_comes_before_tls(
    capture: Any, until: Until, new_authority: Any, tmp_path: Path
) -> None:
    authority = new_authority(tmp_path)
    authority.issue("server")
    source = tcp(tmp_path, tls={"cert": "server.pem", "key": "server.key"})
    await source.open(capture)
    reader, writer = await connect(source)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=authority.ca)
    session = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    writer.write(HEADER + outgoing.read())  # the header and the first record in one read
    done = False
    while not done:
        incoming.write(await reader.read(65536))
        try:
            session.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            pass
        writer.write(outgoing.read())
    session.write(b"secret\n")
    writer.write(outgoing.read())
    await until(lambda: capture.payloads == [b"secret"])
    assert capture.peers == ["192.0.2.7:56324"]
    writer.close()
    _, plain = await connect(source)
    plain.write(HEADER + b"plain\n")
    await until(lambda: counted(source, "tls_failed") == {"not_tls": 1})
    plain.close()
    await source.stop()
    assert capture.payloads == [b"secret"]


async def test_a_full_buffer_and_a_stop_find_connections_without_a_header(capture: Any, until: Until) -> None:
    source = tcp()
    await source.open(capture)
    _, waiting = await connect(source)
    waiting.write(HEADER[:9])
    await until(lambda: header_begun(source))
    _, other = await connect(source)
    capture.accepting = False
    other.write(HEADER + b"x\n")
    await until(lambda: source.paused)
    assert not any(c._transport.is_reading() for c in source.connections if c._transport)
    capture.accepting = True
    capture.resume()
    waiting.write(HEADER[9:] + b"y\n")
    await until(lambda: capture.payloads == [b"x", b"y"])
    _, late = await connect(source)
    late.write(HEADER[:9])
    await until(lambda: header_begun(source))
    await source.stop()
    assert counted(source, "proxy_failed") == {}
    assert not source.connections
    assert source.limits._total == 0
    for writer in (waiting, other, late):
        writer.close()


async def test_a_reload_changes_the_proxies_of_new_connections(capture: Any, until: Until) -> None:
    source = tcp()
    await source.open(capture)
    config = Tcp.Config.model_validate({"type": "tcp", "listen": str(source.address)})
    source.become(config, source.context)
    _, writer = await connect(source)
    writer.write(HEADER)
    await until(lambda: capture.payloads == [HEADER.removesuffix(b"\r\n")])
    writer.close()
    await source.stop()
