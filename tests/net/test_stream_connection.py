"""Connections whose stream is compressed; `test_stream_source` is about the others."""

import asyncio
import gzip
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from streamd.components import framers
from streamd.core.contracts import SourceContext
from streamd.core.counters import Counters
from streamd.core.inflating import PIECE_BYTES
from streamd.core.now import Now
from streamd.net import stream_connection
from streamd.sources.tcp import Tcp

Until = Callable[[Callable[[], bool]], Awaitable[None]]
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "zstd": zstd.compress,
}
LINES = [b"line %d of a log" % number for number in range(20_000)]
CONTENT = b"".join(line + b"\n" for line in LINES)
"""Far more than a piece, and in one read when it is compressed."""


def tcp(compression: str, folder: Path | None = None, **options: Any) -> Tcp:
    config = Tcp.Config.model_validate(
        {"type": "tcp", "listen": "127.0.0.1:0", "decompress": compression} | options
    )
    files = None if folder is None else Tcp.read_files(config, folder)
    return Tcp(config, SourceContext("floor", Counters(), framers(config.cut_by), files=files))


def connect(source: Any) -> socket.socket:
    return socket.create_connection(source.address, timeout=30)


def noted(source: Tcp) -> dict[Any, int]:
    return {key: n for key, n in source.context.counters.items() if key[0] != "connections"}


async def turns(count: int = 50) -> None:
    """Let the loop turn, so that everything happens that waits for nobody."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("compression", COMPRESS)
async def test_the_lines_of_all_members_come_however_they_are_sent(
    compression: str, capture: Any, until: Until
) -> None:
    source, compress = tcp(compression), COMPRESS[compression]
    await source.open(capture)
    members = compress(CONTENT) + compress(b"half a ") + compress(b"line\nlast\n")
    with connect(source) as sock:
        for at in range(0, len(members), 3000):
            sock.sendall(members[at : at + 3000])
            await asyncio.sleep(0)
        sock.shutdown(socket.SHUT_WR)
        await until(lambda: source.open_connections == 0 and bool(capture.payloads))
    assert capture.payloads == [*LINES, b"half a line", b"last"]
    assert noted(source) == {}
    await source.stop()


async def test_a_full_buffer_stops_the_decompression_and_a_bomb_is_held_in_pieces(
    capture: Any, until: Until
) -> None:
    source = tcp("gzip")
    await source.open(capture)
    capture.accepting = False
    with connect(source) as sock:
        sock.sendall(gzip.compress(CONTENT))
        await until(lambda: bool(capture.offered))
        await turns()
        assert len(capture.offered) == 1
        assert capture.offered[0].size_bytes >= sum(map(len, capture.payloads))
        capture.resume()  # room for one piece more
        await turns()
        assert len(capture.offered) == 2
        assert sum(len(line) + 1 for line in capture.payloads) <= 2 * PIECE_BYTES
        sock.sendall(gzip.compress(b"behind\n"))
        capture.accepting = True
        capture.resume()
        await until(lambda: capture.payloads[-1:] == [b"behind"])
    assert capture.payloads == [*LINES, b"behind"]
    await until(lambda: source.open_connections == 0)
    assert noted(source) == {}
    await source.stop()


async def test_what_was_read_of_a_connection_that_is_gone_comes_before_its_end(
    capture: Any, until: Until
) -> None:
    ended: list[Any] = []
    capture.ended = lambda _: ended.append(len(capture.payloads))
    source = tcp("zlib")
    await source.open(capture)
    capture.accepting = False
    with connect(source) as sock:
        sock.sendall(zlib.compress(CONTENT + b"unfinished"))
        await until(lambda: bool(capture.offered))
        (connection,) = source.connections
        assert connection._transport is not None
        connection._transport.abort()
        await turns()
        assert (ended, source.open_connections) == ([], 1)
        capture.accepting = True
        capture.resume()
        await until(lambda: source.open_connections == 0)
    assert capture.payloads == [*LINES, b"unfinished"]
    assert ended == [len(capture.payloads)]
    assert noted(source) == {("unterminated", ""): 1}
    await source.stop()


@pytest.mark.parametrize("compression", COMPRESS)
async def test_a_stream_that_is_cut_off_is_counted_and_its_whole_lines_come(
    compression: str, capture: Any, until: Until
) -> None:
    source = tcp(compression)
    await source.open(capture)
    whole = COMPRESS[compression](b"one\ntwo\n")
    with connect(source) as sock:
        sock.sendall(whole + COMPRESS[compression](b"three\n")[:-1])
    await until(lambda: source.open_connections == 0 and bool(noted(source)))
    assert capture.payloads[:2] == [b"one", b"two"]
    assert noted(source)["framing_errors", "compressed:incomplete"] == 1
    await source.stop()


async def test_a_stream_with_a_fault_is_closed_and_the_line_before_it_is_flagged(
    capture: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[Any] = []
    monkeypatch.setattr(stream_connection.log, "warning", lambda event, **more: logged.append((event, more)))
    source = tcp("gzip")
    await source.open(capture)
    with connect(source) as sock:
        sock.sendall(gzip.compress(b"one\nhal") + b"GET / HTTP/1.1\r\n")
        await until(lambda: source.open_connections == 0 and bool(noted(source)))
        assert await asyncio.to_thread(sock.recv, 1) == b""
    assert [(payload, getattr(payload, "flag", "")) for payload in capture.payloads] == [
        (b"one", ""), (b"hal", "unterminated"),
    ]  # fmt: skip
    assert noted(source) == {
        ("framing_errors", "compressed:syntax"): 1, ("discarded_bytes", ""): 16, ("unterminated", ""): 1,
    }  # fmt: skip
    ((event, fields),) = logged
    assert (event, fields["reason"]) == ("framing_error", "compressed:syntax")
    await source.stop()


async def test_broken_framing_ends_a_compressed_stream_too(capture: Any, until: Until) -> None:
    source = tcp("gzip", max_frame="16B", oversize="close")
    await source.open(capture)
    with connect(source) as sock:
        sock.sendall(gzip.compress(b"one\n" + b"x" * 1_000_000))
        await until(lambda: source.open_connections == 0 and bool(noted(source)))
    assert capture.payloads == [b"one"]
    assert noted(source)["framing_errors", "oversize"] == 1
    await source.stop()


async def test_a_stop_counts_what_was_read_and_not_decompressed(capture: Any, until: Until) -> None:
    source = tcp("zstd")
    await source.open(capture)
    capture.accepting = False
    with connect(source) as sock:
        sock.sendall(zstd.compress(CONTENT))
        await until(lambda: bool(capture.offered))
        await source.stop()
    assert source.open_connections == 0
    assert capture.payloads[:-1] == LINES[: len(capture.payloads) - 1]
    assert noted(source)["unread_bytes", ""] > 0
    assert not [key for key in noted(source) if key[0] == "framing_errors"]


async def test_a_sender_that_compresses_and_waits_is_not_late_with_its_first_frame(
    capture: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_connection, "read_clock", lambda: Now(0.0, 100.0))
    source = tcp("gzip")
    await source.open(capture)
    data = gzip.compress(b"one\n")
    with connect(source) as sock:
        await until(lambda: source.open_connections == 1)
        (connection,) = source.connections
        assert connection._overdue(1e6) == "first_byte_timeout"
        sock.sendall(data[:10])
        await until(lambda: connection._started)
        assert connection._overdue(1e6) is None
        sock.sendall(data[10:])
        await until(lambda: capture.payloads == [b"one"])
    await until(lambda: source.open_connections == 0)
    await source.stop()


async def test_the_end_of_tls_comes_behind_the_last_piece(
    capture: Any, until: Until, new_authority: Any, tmp_path: Path
) -> None:
    authority = new_authority(tmp_path)
    authority.issue("server")
    source = tcp("gzip", tmp_path, tls={"cert": "server.pem", "key": "server.key"})
    await source.open(capture)
    context = ssl.create_default_context(cafile=authority.ca)
    reader, writer = await asyncio.open_connection(*source.address, ssl=context, server_hostname="localhost")
    writer.write(gzip.compress(CONTENT + b"last"))
    writer.close()
    await until(lambda: source.open_connections == 0 and bool(capture.payloads))
    assert capture.payloads == [*LINES, b"last"]
    assert noted(source) == {("unterminated", ""): 1}
    del reader
    await source.stop()
