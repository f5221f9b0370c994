import asyncio
import contextlib
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from structlog.testing import capture_logs

from streamd.admin import server as server_module
from streamd.admin.open_routes import OpenRoutes
from streamd.admin.server import AdminServer
from streamd.core.errors import EnvironmentFault

Make = Callable[..., AdminServer]
Until = Callable[[Callable[[], bool]], Awaitable[None]]


def fetch(server: AdminServer, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, Any]:
    """What a plain HTTP client gets."""
    url = f"http://{server.listening[0]}{path}"
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - http to ourselves
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


async def get(server: AdminServer, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, Any]:
    return await asyncio.to_thread(fetch, server, path, method, **headers)


async def raw(server: AdminServer, sent: bytes, *, eof: bool = False) -> bytes:
    """All bytes the server answers to these, until it closes."""
    reader, writer = await asyncio.open_connection(*server.listening[0])
    writer.write(sent)
    if eof:
        writer.write_eof()
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_a_living_daemon_says_ok(server: AdminServer) -> None:
    code, body, headers = await get(server, "/healthz")
    assert (code, body) == (200, b"ok\n")
    assert headers["Cache-Control"] == "no-store"


async def test_readiness_is_a_status_code_with_reasons(server: AdminServer, world: Any) -> None:
    assert (await get(server, "/readyz"))[:2] == (200, b"ready\n")
    world.view.phase = "draining"
    assert (await get(server, "/readyz"))[:2] == (503, b"draining\n")
    assert (await get(server, "/healthz"))[0] == 200


async def test_metrics_are_served_in_both_formats(server: AdminServer, world: Any) -> None:
    world.fill_books()
    _, body, headers = await get(server, "/metrics")
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b'streamd_frames_received_total{source="lab"} 1000.0' in body
    _, body, headers = await get(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/nothing"])
async def test_head_gives_the_headers_of_get_and_no_body(server: AdminServer, path: str) -> None:
    answer = await raw(server, f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b""
    assert int(head.lower().partition(b"content-length: ")[2].split()[0]) > 0


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", "/readyz", 405),
        ("DELETE", "/metrics", 405),
        ("OPTIONS", "/healthz", 405),
        ("get", "/healthz", 405),
        ("GET", "/metrics/", 404),
        ("GET", "/page/", 404),
        ("GET", "/page/../server.py", 404),
        ("POST", "/reload", 404),
        ("GET", "//healthz", 404),
        ("GET", "/../etc/passwd", 404),
        ("GET", "/%68ealthz", 404),
    ],
)
async def test_other_methods_and_paths_are_refused(
    server: AdminServer, method: str, path: str, code: int
) -> None:
    answer = await raw(server, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {code} ".encode())
    assert (b"allow: get, head" in answer.lower()) == (code == 405)


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("127.0.0.1:9900", 200),
        ("[::1]:1", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example:9900", 421),
        ("localhost:80@evil.example", 421),
        ("[::1", 421),
    ],
)
async def test_only_our_own_names_are_answered(server: AdminServer, host: str, code: int) -> None:
    answer = await raw(server, f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {code} ".encode())
    assert server.refused["host"] == (code == 421)


@pytest.mark.parametrize(
    ("target", "host", "code"),
    [
        ("http://localhost/healthz", "localhost", 200),
        ("HTTP://LOCALHOST:80/healthz", "localhost", 200),
        ("http://[::1]:9900/readyz?watch=0", "localhost", 200),
        ("http://127.0.0.1:9900/healthz", "evil.example", 200),
        ("http://localhost", "localhost", 200),
        ("http://localhost/missing", "localhost", 404),
        ("http://localhost//healthz", "localhost", 404),
        ("http://localhost/healthz?x=1", "localhost", 400),
        ("http://evil.example/healthz", "localhost", 421),
        ("http://user@localhost/healthz", "localhost", 421),
        ("http://localhost:x/healthz", "localhost", 421),
        ("http://:9900/healthz", "localhost", 421),
        ("http:///healthz", "localhost", 404),
        ("https://localhost/healthz", "localhost", 404),
        ("http://localhost/query?sql=select+1", "localhost", 401),
    ],
)
async def test_a_target_may_name_the_host_and_then_that_one_counts(
    server: AdminServer, target: str, host: str, code: int
) -> None:
    answer = await raw(server, f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {code} ".encode())
    assert server.refused["host"] == (code == 421)


async def test_the_host_of_a_target_is_the_origin_that_a_page_must_have(server: AdminServer) -> None:
    for origin, code in (("http://localhost:9900", 200), ("http://127.0.0.1:1", 403)):
        head = f"GET http://localhost:9900/status HTTP/1.1\r\nHost: 127.0.0.1:1\r\nOrigin: {origin}\r\n\r\n"
        assert (await raw(server, head.encode())).startswith(f"HTTP/1.1 {code} ".encode())


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/page/main.js",
        "/healthz",
        "/readyz",
        "/metrics",
        "/status",
        "/events",
        "/history",
        "/openapi.json",
    ],
)
@pytest.mark.parametrize("query", ["x=1", "x", "watch=0&x=", "name%5B%5D=up"])
async def test_an_unknown_parameter_is_refused_everywhere(server: AdminServer, path: str, query: str) -> None:
    code, text, _ = await get(server, f"{path}?{query}")
    assert (code, b"is no parameter here" in text or b"must have the form" in text) == (400, True)


OTHER_PAGES = [
    ("Origin: http://evil.example",),
    ("Origin: http://localhost.evil.example:9900",),
    ("Origin: null",),
    ("Origin: ",),
    ("Origin: http://localhost:3000",),
    ("Origin: https://localhost:9900",),
    ("Origin: http://127.0.0.1:9900",),
    ("Origin: http://localhost:9900, http://evil.example",),
    ("Origin: http://localhost:9900", "Origin: http://evil.example"),
    ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"),
    ("Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"),
    ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"),
]
OWN_PAGES = [
    (),
    ("Origin: http://localhost:9900",),
    ("Origin: HTTP://LOCALHOST:9900", "Sec-Fetch-Site: same-origin"),
    ("Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"),
]
LINK = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        *((path, headers, 403) for headers in OTHER_PAGES for path in ("/metrics", "/readyz?watch=1")),
        *((path, headers, 200) for headers in OWN_PAGES for path in ("/healthz", "/readyz?watch=0")),
        ("/metrics", LINK, 200),
        ("/readyz?watch=1", LINK, 403),
    ],
)
async def test_a_web_page_of_another_origin_is_not_answered(
    server: AdminServer, path: str, headers: tuple[str, ...], code: int
) -> None:
    lines = "".join(f"{header}\r\n" for header in ("Host: localhost:9900", *headers))
    answer = await raw(server, f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {code} ".encode())
    assert b"access-control" not in answer.lower()
    assert server.refused["origin"] == (code == 403)


async def test_http_1_0_needs_no_host(server: AdminServer) -> None:
    assert (await raw(server, b"GET /healthz HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\nok\n")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET /hea\x00lthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/x.y\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n folded\x7f: \r\nx\r\n\r\n",
        b'{"sensor":"s-1"}\n\n',
        b"<34>1 2003-10-11T22:14:15.003Z host app - - - x\r\n\r\n",
    ],
)
async def test_what_is_no_request_gets_one_answer_and_is_counted(server: AdminServer, sent: bytes) -> None:
    answer = await raw(server, sent, eof=True)
    assert answer.startswith(b"HTTP/1.1 4")
    assert answer.count(b"HTTP/1.1") == 1
    assert server.refused == {"request": 1}


async def test_a_huge_header_is_refused_without_being_kept(server: AdminServer) -> None:
    answer = await raw(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert server.refused == {"request": 1}


async def test_of_pipelined_requests_only_the_first_is_answered(server: AdminServer) -> None:
    answer = await raw(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert b"connection: close" in answer.lower()


async def test_a_body_is_not_read_and_does_not_destroy_the_answer(server: AdminServer) -> None:
    head = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n"
    assert (await raw(server, head + b"x" * 9000)).startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize("server", [0.3], indirect=True)
async def test_a_request_that_drips_is_cut_off_at_the_deadline(server: AdminServer) -> None:
    reader, writer = await asyncio.open_connection(*server.listening[0])
    writer.write(b"GET /healthz HTTP/1.1\r\n")
    closed = asyncio.ensure_future(reader.read())
    async with asyncio.timeout(30):
        while not closed.done():
            writer.write(b"X")  # bytes keep coming; the deadline is for the whole request
            await asyncio.wait([closed], timeout=0.02)
    writer.close()
    assert closed.exception() is not None or closed.result() == b""
    assert server.refused == {"timeout": 1}


@pytest.mark.parametrize("server", [0.3], indirect=True)
async def test_a_connection_that_says_nothing_is_closed(server: AdminServer) -> None:
    assert await raw(server, b"") == b""
    assert server.refused == {"timeout": 1}


async def test_a_client_that_goes_away_early_is_counted(server: AdminServer, until: Until) -> None:
    assert await raw(server, b"", eof=True) == b""
    await until(lambda: server.refused == {"closed": 1})


@pytest.mark.parametrize("server", [0.3], indirect=True)
async def test_a_reader_that_takes_nothing_is_cut_off(
    server: AdminServer, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    async def long(_self: object, _request: object) -> Response:
        return Response(b"x" * 50_000_000)

    monkeypatch.setattr(OpenRoutes, "_healthz", long)
    reader, writer = await asyncio.open_connection(*server.listening[0], limit=1024)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await until(lambda: server.refused == {"timeout": 1})
    taken = 0
    with contextlib.suppress(ConnectionResetError):
        while chunk := await reader.read(1 << 20):
            taken += len(chunk)
    assert taken < 50_000_000
    writer.close()


async def test_connections_over_the_cap_are_closed_and_counted(make_server: Make, until: Until) -> None:
    server = make_server()
    await server.open()
    try:
        opened = [await asyncio.open_connection(*server.listening[0]) for _ in range(100)]
        await until(lambda: server.refused["connections"] == 100 - server_module.MAX_CONNECTIONS)
        for _, writer in opened:
            writer.close()
        await until(lambda: not server._exchange.connections)
        assert (await get(server, "/healthz"))[0] == 200
    finally:
        await server.close()


async def test_a_fault_of_ours_is_an_answer_without_a_traceback(server: AdminServer, world: Any) -> None:
    def broken() -> None:
        raise RuntimeError("secret detail")

    world.view.refresh = broken
    with capture_logs() as logged:
        code, body, _ = await get(server, "/metrics")
    assert (code, body) == (500, b"internal error, see the log\n")
    assert logged[0]["event"] == "admin_answer_failed"
    assert (await get(server, "/healthz"))[0] == 200


async def test_a_port_in_use_says_what_to_do(server: AdminServer, make_server: Make) -> None:
    second = make_server(listen=str(server.listening[0]))
    with pytest.raises(EnvironmentFault, match=r"cannot listen on 127\.0\.0\.1:\d+.*another streamd"):
        await second.open()
    await second.close()


async def test_an_address_of_another_host_says_so(make_server: Make, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "token").chmod(0o600)
    with pytest.raises(EnvironmentFault, match="this host has no such address"):
        await make_server(listen="192.0.2.1:0", token="token").open()  # noqa: S106 - the name of a file


async def test_closing_ends_open_connections_and_can_be_repeated(server: AdminServer, until: Until) -> None:
    reader, writer = await asyncio.open_connection(*server.listening[0])
    await until(lambda: len(server._exchange.connections) == 1)
    await server.close()
    await server.close()
    try:
        assert await reader.read() == b""
    except ConnectionResetError:
        pass
    finally:
        writer.close()
    assert server.refused == {}


async def test_ipv6_is_answered(make_server: Make) -> None:
    server = make_server(listen="[::1]:0")
    await server.open()
    try:
        assert (await get(server, "/healthz"))[0] == 200
    finally:
        await server.close()


TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of a test


async def opened(make_server: Make, tmp_path: Path, **options: Any) -> AdminServer:
    """A server that other hosts may reach."""
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    server = make_server(listen="0.0.0.0:0", token="token", **options)  # noqa: S106
    await server.open()
    return server


@pytest.mark.parametrize("path", ["/metrics", "/status", "/events", "/history"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_opened_address_needs_the_token_for_its_numbers(
    make_server: Make, tmp_path: Path, path: str, method: str
) -> None:
    server = await opened(make_server, tmp_path)

    async def code(*headers: str, query: str = "") -> bytes:
        lines = "".join(f"{header}\r\n" for header in ("Host: localhost", *headers))
        reader, writer = await asyncio.open_connection("127.0.0.1", server.listening[0].port)
        writer.write(f"{method} {path}{query} HTTP/1.1\r\n{lines}\r\n".encode())
        line = await reader.readline()
        writer.close()
        return line.split()[1]

    right = f"Authorization: Bearer {TOKEN}"
    try:
        assert await code(right) == b"200"
        wrong: list[tuple[tuple[str, ...], str]] = [
            ((), ""),
            ((), f"?token={TOKEN}"),
            (("Authorization: Bearer wrong",), ""),
            ((f"Authorization: Basic {TOKEN}",), ""),
            ((f"Cookie: token={TOKEN}",), ""),
            ((f"Proxy-Authorization: Bearer {TOKEN}",), ""),
            ((right, right), ""),
            ((right, "Authorization: Bearer wrong"), ""),
        ]
        for headers, query in wrong:
            assert await code(*headers, query=query) == b"401", headers
        assert server.refused == {"token": len(wrong)}
    finally:
        await server.close()


async def test_an_opened_address_shows_the_page_and_health_without_token(
    make_server: Make, tmp_path: Path
) -> None:
    server = await opened(make_server, tmp_path)
    try:
        for path in ("/", "/page/index.html", "/healthz", "/readyz"):
            assert (await get(server, path))[0] == 200
        assert server.refused == {}
        assert not (tmp_path / "admin.token").exists()
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("192.0.2.7:9900", 200),
        ("[2001:db8::1]:9900", 200),
        ("streamd.example.org", 200),
        ("STREAMD.example.org:80", 200),
        ("evil.example", 421),
        ("192.0.2.7.evil.example", 421),
        ("streamd.example.org.evil.example", 421),
        ("192.0.2", 421),
    ],
)
async def test_an_opened_address_has_the_names_that_no_rebinding_gives(
    make_server: Make, tmp_path: Path, host: str, code: int
) -> None:
    server = await opened(make_server, tmp_path, names=["streamd.example.org"])
    try:
        answer = await raw(server, f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert answer.startswith(f"HTTP/1.1 {code} ".encode())
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("host", "origin", "code"),
    [
        ("streamd.example.org", "https://streamd.example.org", 200),
        ("streamd.example.org:8443", "https://streamd.example.org:8443", 200),
        ("streamd.example.org", "http://streamd.example.org", 200),
        ("streamd.example.org", "https://evil.example", 403),
        ("streamd.example.org:8443", "https://streamd.example.org", 403),
        ("localhost", "https://localhost", 403),
    ],
)
async def test_behind_a_proxy_with_tls_its_name_is_an_own_origin(
    make_server: Make, host: str, origin: str, code: int
) -> None:
    server = make_server(names=["streamd.example.org"])
    await server.open()
    try:
        head = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\r\n"
        assert (await raw(server, head.encode())).startswith(f"HTTP/1.1 {code} ".encode())
    finally:
        await server.close()


async def test_a_unix_socket_is_for_this_user_and_is_removed(make_server: Make, tmp_path: Path) -> None:
    server = make_server(listen="unix:run/admin.sock")
    path = tmp_path / "run" / "admin.sock"
    server.rehearse(server._backing.loaded())
    assert not path.exists()
    await server.open()
    try:
        assert path.stat().st_mode & 0o777 == 0o600
        assert server.served_at == [f"unix:{path}"]
        assert server.places == [("unix", str(path))]
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        with pytest.raises(EnvironmentFault, match=r"\[admin\]: cannot listen on .*it is taken"):
            server.rehearse(server._backing.loaded())
    finally:
        await server.close()
    assert not path.exists()
    await server.close()


def test_a_rehearsal_reads_the_token(make_server: Make) -> None:
    server = make_server(token="missing")  # noqa: S106 - the name of a file
    with pytest.raises(EnvironmentFault, match=r"the token of the admin address .*missing cannot be read"):
        server.rehearse(server._backing.loaded())
