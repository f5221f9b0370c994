import asyncio
import json
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamd.admin.server import AdminServer
from streamd.admin.view import BufferGauge, SinkGauge, SourceGauge, View
from streamd.cli import main
from streamd.core.books import Books
from streamd.core.clock import read_clock
from streamd.core.histogram import Histogram
from streamd.core.settings import Address


@pytest.fixture
def view() -> View:
    books = Books()
    frames = books.source("lab")
    frames.received, frames.decoded = 1_234_567, 1_234_500
    frames.rejected["json:syntax"] = 60
    frames.note("kernel_dropped", 188)
    books.pipeline("lab", "main").taken_in = 7
    for pipeline, stored in (("main", 1000), ("other", 234)):
        delivery = books.delivery("lab", pipeline, "readings")
        delivery.offered = delivery.stored = stored
    latency_s = Histogram((0.1, 0.2))
    latency_s.observe(0.15, 100)
    return View(
        books=books,
        refresh=lambda: None,
        buffers=lambda: [BufferGauge("lab", "source", 7, 100, 14, 1 << 26, "drop_oldest")],
        sinks=lambda: [SinkGauge("readings", None, 0.0, read_clock().mono_s, latency_s, {"unconfirmed": 12})],
        sources=lambda: [SourceGauge("lab", ("127.0.0.1:9999",), 3)],
        dead_letters=Counter({"kept": 60}),
        clock=read_clock,
        version="1.2.3",
        run_id="run-1",
        started_at_wall_s=read_clock().wall_s - 7200,
        config_path="/etc/streamd/[bold]\x1b[31m.toml",
        phase="running",
    )


@pytest.fixture
async def url(view: View) -> AsyncIterator[str]:
    server = AdminServer(view, Address("127.0.0.1", 0))
    await server.open()
    yield f"http://{server.listening[0]}"
    await server.close()


async def run(*arguments: str) -> int:
    return await asyncio.to_thread(main, ["status", *arguments])


async def test_a_ready_daemon_is_a_page_and_exit_0(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("--url", url) == 0
    shown = capsys.readouterr().out
    assert "streamd 1.2.3 · running for 2.0 h · run run-1 · ready" in shown
    for text in (
        "1,234,567",
        "127.0.0.1:9999",
        "188",
        "50%",
        "1,234",
        "150.0 ms",
        "sink readings: of stored, 12 unconfirmed",
        "60 kept",
        "the books balance",
    ):
        assert text in shown


async def test_nothing_in_the_answer_controls_the_terminal(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("--url", url)
    shown = capsys.readouterr().out
    assert "/etc/streamd/[bold]\\x1b[31m.toml" in shown
    assert "\x1b[31m.toml" not in shown


async def test_a_daemon_that_is_not_ready_says_why_and_exits_1(
    url: str, view: View, capsys: pytest.CaptureFixture[str]
) -> None:
    view.phase = "draining"
    view.books.source("lab").decoded += 100
    assert await run("--url", url) == 1
    shown = capsys.readouterr().out
    assert "not ready" in shown
    assert "the books do not balance: lab: waiting is -93" in shown


async def test_json_is_the_document_itself(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("--json", "--url", url) == 0
    assert json.loads(capsys.readouterr().out)["sources"][0]["frames"]["received"] == 1_234_567


async def test_the_address_comes_from_the_configuration(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "streamd.toml"
    written.write_text(
        f'[admin]\nlisten = "{url.removeprefix("http://")}"\n[sources.half]\ntype = "nonsen"\n'
    )
    assert await run("--config", str(written)) == 0
    assert "ready" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("listen", "said"),
    [("none", "turns the admin address off"), ("10.0.0.1:9900", "admin.listen: only a loop")],
)
async def test_an_admin_address_that_cannot_be_asked_is_said(
    listen: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "streamd.toml"
    written.write_text(f'[admin]\nlisten = "{listen}"\n')
    assert await run("--config", str(written)) == 2
    assert said in capsys.readouterr().err


async def test_nobody_there_is_one_line_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        assert await run("--url", f"http://127.0.0.1:{port}") == 1
    error = capsys.readouterr().err
    assert f"no daemon answers at http://127.0.0.1:{port}" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"ready":"\xff\x1b[2J"',
        b"HTTP/1.1 404 Not\x1b[2J Found\r\nContent-Length: 5\r\n\r\n\x1b[2J\n",
        b"220 smtp ready\x1b[2J\r\n",
        b"",
    ],
)
async def test_another_program_there_is_one_safe_line_and_exit_1(
    answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await run("--url", f"http://127.0.0.1:{port}") == 1
    server.close()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.removesuffix("\n").isprintable()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "https://127.0.0.1", "127.0.0.1:9900", "http://[::1", "http://h:x"]
)
async def test_a_wrong_url_is_wrong_use(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("--url", url) == 2
    assert "--url is an admin address" in capsys.readouterr().err


async def test_a_proxy_of_the_environment_is_not_asked(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(os.environ, "http_proxy", "http://127.0.0.1:1")
    assert await run("--url", url) == 0
    assert "ready" in capsys.readouterr().out
