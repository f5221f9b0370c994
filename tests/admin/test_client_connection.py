"""Also about `admin/own_names.py`."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamd.admin.client_connection import MAX_REQUEST_BYTES
from streamd.admin.open_routes import OpenRoutes
from streamd.admin.server import AdminServer

Until = Callable[[Callable[[], bool]], Awaitable[None]]
HOST = b"Host: localhost\r\n"
WATCH = b"GET /readyz?watch=1 HTTP/1.1\r\n" + HOST + b"\r\n"


async def pace(seconds: float) -> None:
    """Time between two writes of a client, or in which it does not read."""
    await asyncio.sleep(seconds)


async def raw(server: AdminServer, *sent: bytes, eof: bool = False) -> bytes:
    """All bytes the server answers to these, until it closes."""
    reader, writer = await asyncio.open_connection(*server.listening[0])
    for piece in sent:
        writer.write(piece)
        await pace(0.01)
    if eof:
        writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


def code(answer: bytes) -> int:
    return int(answer.split()[1])


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200),
        (b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET http://localhost/healthz HTTP/1.1\r\n" + HOST + b"\r\n", 200),
        (b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n", 400),
        (b"HEAD /healthz HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na", 400),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: 99\r\nExpect: 100-continue\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n\x00\xff garbage", 200),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"x" * (MAX_REQUEST_BYTES - 99) + b"\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"x" * MAX_REQUEST_BYTES + b"\r\n\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 10_000 + b"\r\n", 431),
        (b"GET /" + b"x" * MAX_REQUEST_BYTES + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    ],
)  # fmt: skip
async def test_a_connection_gets_one_answer_whatever_follows_the_request(
    server: AdminServer, sent: bytes, expected: int
) -> None:
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    answer = await raw(server, sent)
    assert (code(answer), answer.count(b"HTTP/1.1 ")) == (expected, 1)
    assert faults == []
    assert server.refused == ({"request": 1} if expected in {400, 431} else {})


async def test_a_smuggled_request_is_not_answered(server: AdminServer) -> None:
    head = b"POST /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await raw(server, head + b"0\r\n\r\nGET /metrics HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (code(answer), answer.count(b"HTTP/1.1 ")) == (405, 1)


async def test_a_body_larger_than_is_read_does_not_keep_the_connection(
    server: AdminServer, until: Until
) -> None:
    head = b"GET /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: 10000000\r\n\r\n"
    reader, writer = await asyncio.open_connection(*server.listening[0])
    writer.write(head)
    assert (await reader.readuntil(b"\r\n\r\nok\n")).startswith(b"HTTP/1.1 200 ")
    writer.write(b"x" * 10_000_000)
    await until(lambda: not server._exchange.connections)
    writer.close()


async def test_a_request_in_pieces_is_a_request(server: AdminServer) -> None:
    sent = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    assert code(await raw(server, *[sent[i : i + 7] for i in range(0, len(sent), 7)])) == 200


async def test_a_client_that_still_sends_is_not_cut_off_before_it_has_the_answer(server: AdminServer) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_connection(server.listening[0]) as sock:
        sock.setblocking(False)
        await loop.sock_sendall(sock, b"GET /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: 300\r\n\r\n")
        answer = await loop.sock_recv(sock, 65536)
        for _ in range(3):
            await loop.sock_sendall(sock, b"x" * 100)  # an error where the socket is closed
            await pace(0.02)
        assert answer.endswith(b"ok\n")


async def test_half_a_request_is_counted_as_a_client_that_went_away(server: AdminServer) -> None:
    assert await raw(server, b"GET /hea", eof=True) == b""
    assert server.refused == {"closed": 1}


async def test_a_stream_goes_on_until_its_client_goes_away(
    server: AdminServer, world: Any, until: Until
) -> None:
    reader, writer = await asyncio.open_connection(*server.listening[0])
    writer.write(WATCH)
    assert b"text/event-stream" in await reader.readuntil(b"\r\n\r\n")
    assert b'data: {"ready": true, "reasons": []}' in await reader.readuntil(b"}\n\n")
    world.view.phase = "draining"
    assert b'data: {"ready": false, "reasons": ["draining"]}' in await reader.readuntil(b"}\n\n")
    (connection,) = server._exchange.connections
    assert connection._deadline is None
    (task,) = connection.tasks
    writer.close()
    await until(task.done)
    await until(lambda: not server._exchange.connections)
    assert server.refused == {}


async def test_a_client_that_closes_its_half_ends_its_stream(server: AdminServer) -> None:
    reader, writer = await asyncio.open_connection(*server.listening[0])
    writer.write(WATCH)
    await reader.readuntil(b"}\n\n")
    writer.write_eof()
    async with asyncio.timeout(30):
        await reader.read()
    writer.close()


async def test_more_streams_than_may_be_are_refused_and_short_requests_still_answered(
    server: AdminServer, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server._exchange, "_max_streams", 2)
    opened = [await asyncio.open_connection(*server.listening[0]) for _ in range(2)]
    for reader, writer in opened:
        writer.write(WATCH)
        await reader.readuntil(b"}\n\n")
    refused = await raw(server, WATCH)
    assert code(refused) == 503
    assert b"too many" in refused
    assert server.refused == {"streams": 1}
    assert code(await raw(server, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")) == 200
    opened[0][1].close()
    await until(lambda: len(server._exchange.connections) == 1)
    reader, writer = await asyncio.open_connection(*server.listening[0])
    writer.write(WATCH)
    assert await reader.readuntil(b"}\n\n")
    for other in (writer, opened[1][1]):
        other.close()


@pytest.mark.parametrize("server", [0.3], indirect=True)
async def test_who_watches_and_does_not_read_is_cut_off(
    server: AdminServer, world: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamd.admin.repeated.INTERVAL_S", 0.001)
    world.view.lost_files = lambda: ["x" * 4000] * 250
    sock = socket.create_connection(server.listening[0])
    sock.sendall(WATCH)
    await until(lambda: server.refused == {"timeout": 1})
    await until(lambda: not server._exchange.connections)
    sock.close()


async def test_a_fault_of_ours_ends_a_stream_and_nothing_else(server: AdminServer, world: Any) -> None:
    reader, writer = await asyncio.open_connection(*server.listening[0])
    writer.write(WATCH)
    await reader.readuntil(b"}\n\n")
    world.view.lost_files = lambda: 1 / 0
    rest = await reader.read()
    assert b"secret" not in rest
    assert not rest.endswith(b"0\r\n\r\n"), "an end that looks like one would hide that it is none"
    world.view.lost_files = list
    assert code(await raw(server, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")) == 200
    writer.close()


async def test_closing_ends_streams(server: AdminServer, until: Until) -> None:
    reader, writer = await asyncio.open_connection(*server.listening[0])
    writer.write(WATCH)
    await reader.readuntil(b"}\n\n")
    await server.close()
    try:
        assert not (await reader.read()).endswith(b"0\r\n\r\n")
    except ConnectionResetError:
        pass
    finally:
        writer.close()
    await until(lambda: not server._exchange.connections)


async def test_head_of_a_stream_ends(server: AdminServer) -> None:
    answer = await raw(server, b"HEAD /readyz?watch=1 HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (code(answer), answer.partition(b"\r\n\r\n")[2]) == (200, b"")


def test_the_stack_is_imported_by_no_start_and_no_command() -> None:
    asked = (
        "import sys, json, streamd.daemon, streamd.cli.status, streamd.cli.reload, streamd.cli.check;"
        "print(json.dumps([m for m in ('starlette', 'uvicorn', 'h11', 'anyio') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("server", [0.3], indirect=True)
async def test_an_answer_that_does_not_begin_is_given_up(
    server: AdminServer, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    async def never(_self: object, _request: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(OpenRoutes, "_healthz", never)
    assert await raw(server, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n") == b""
    assert server.refused == {"timeout": 1}
    await until(lambda: not server._exchange.connections)


async def test_a_stack_that_cannot_be_imported_is_logged_and_tried_again(
    server: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ImportError("No module named 'uvicorn'")

    load = server._exchange._load
    monkeypatch.setattr(server._exchange, "_load", missing)
    with capture_logs() as logged:
        assert await raw(server, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n") == b""
    assert [entry["event"] for entry in logged] == ["admin_stack_failed"]
    monkeypatch.setattr(server._exchange, "_load", load)
    assert code(await raw(server, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")) == 200


async def test_nothing_is_logged_of_what_clients_do(
    server: AdminServer, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as logged:
        await raw(server, b"\x16\x03\x01\r\n\r\n")
        await raw(
            server, b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"
        )
        await raw(server, b"GET /hea", eof=True)
    assert (logged, caplog.records) == ([], [])
