import asyncio
import json
import re
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.admin.control import AskingProcess, ControlServer
from streamd.admin.view import BufferGauge, ReloadFailure, SinkGauge, SourceGauge, StageGauge, View
from streamd.admin.watch import Watch
from streamd.cli import main
from streamd.core.books import Books
from streamd.core.clock import read_clock
from streamd.core.histogram import Histogram
from tests.backing import backing_in

Until = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
def view() -> View:
    books = Books()
    frames = books.source("lab")
    frames.received, frames.decoded = 1_234_567, 1_234_500
    frames.rejected["json:syntax"] = 60
    frames.counters.add("kernel_dropped", 188)
    frames.counters.add("connections", 400)
    frames.counters.add("truncated", 1_500)
    frames.counters.add("connections_refused", 2, "not_allowed")
    frames.counters.add("connections_refused", 30, "max_connections_per_sender")
    books.pipeline("lab", "main").taken_in = 7
    for pipeline, stored in (("main", 1000), ("other", 234)):
        delivery = books.delivery("lab", pipeline, "readings")
        delivery.offered = delivery.stored = stored
    books.sink("readings").add("unconfirmed", 12)
    latency_s = Histogram((0.1, 0.2))
    latency_s.observe(0.15, 100)
    return View(
        books=books,
        refresh=lambda: None,
        buffers=lambda: [BufferGauge("lab", "source", 7, 100, 14, 1 << 26, "drop_oldest")],
        sinks=lambda: [SinkGauge("readings", None, 0.0, read_clock().mono_s, latency_s)],
        sources=lambda: [SourceGauge("lab", ("127.0.0.1:9999",), 3, read_clock().wall_s)],
        dead_letters=Counter({"kept": 60}),
        clock=read_clock,
        version="1.2.3",
        run_id="run-1",
        started_at_wall_s=read_clock().wall_s - 7200,
        config_path="/etc/streamd/[bold]\x1b[31m.toml",
        phase="running",
    )


@pytest.fixture
async def server(view: View, tmp_path: Path) -> AsyncIterator[ControlServer]:
    async def reload(dry_run: bool, peer: AskingProcess) -> dict[str, Any]:
        raise AssertionError((dry_run, peer))

    path = tmp_path / "control.sock"
    server = ControlServer(view, Watch(view), path, group=None, reload=reload, backing=backing_in(tmp_path))
    await server.open()
    yield server
    await server.close()


@pytest.fixture
async def place(server: ControlServer) -> str:
    return str(server.path)


async def run(*arguments: str) -> int:
    return await asyncio.to_thread(main, ["status", *arguments])


async def test_a_ready_daemon_is_a_page_and_exit_0(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("--socket", place) == 0
    shown = capsys.readouterr().out
    assert "streamd 1.2.3 · running for 2.0 h · run run-1 · ready" in shown
    for text in (
        "1,234,567",
        "127.0.0.1:9999",
        "188",
        "50%",
        "1,234",
        "150.0 ms",
        "source lab: truncated 1,500; connections refused 32",
        "refused 32 (max_connections_per_sender 30, not_allowed 2)\n",
        "sink readings: of stored, 12 unconfirmed",
        "60 kept",
        "the books balance",
    ):
        assert text in shown


async def test_nothing_in_the_answer_controls_the_terminal(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("--socket", place)
    shown = capsys.readouterr().out
    assert "/etc/streamd/[bold]\\x1b[31m.toml" in shown
    assert "\x1b[31m.toml" not in shown


async def test_a_daemon_that_is_not_ready_says_why_and_exits_1(
    place: str, view: View, capsys: pytest.CaptureFixture[str]
) -> None:
    view.phase = "draining"
    view.books.source("lab").decoded += 100
    assert await run("--socket", place) == 1
    shown = capsys.readouterr().out
    assert "not ready" in shown
    assert "the books do not balance: lab: waiting is -93" in shown


async def test_the_gauges_of_a_step_are_a_line(
    place: str, view: View, capsys: pytest.CaptureFixture[str]
) -> None:
    step = view.books.step("main", "river[0]")
    step.set_gauge("progressive", 0.89321, "Accuracy")
    step.set_gauge("progressive", 0.4, "LogLoss")
    assert await run("--socket", place) == 0
    assert "step main > river[0]: progressive Accuracy 0.8932, progressive LogLoss 0.4\n" in (
        capsys.readouterr().out
    )


async def test_the_stages_are_shown_in_the_order_of_the_flow_within_80_columns(
    place: str, view: View, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    await run("--socket", place)
    assert "busy" not in capsys.readouterr().out
    view.stages = lambda: [
        StageGauge("source", "lab", "blocked", 9, 9, 10.0, 0.5, 7.5, 2.0),
        StageGauge("workers", "main", "blocked", 9, 9, 10.0, 1.2, 8.8, 0.0),
        StageGauge("step", "main.python[0]", "busy", 9, 9, 10.0, 9.9, 0.0, 0.1, 3),
        StageGauge("sink", "readings", "idle", 9, 9, 10.0, 0.0, 0.0, 10.0),
    ]
    await run("--socket", place)
    shown = capsys.readouterr().out
    table = shown[shown.index("stage ") :].split("\n\n")[0].splitlines()
    assert [line.split() for line in table if not line.startswith("-")] == [
        ["stage", "busy", "blocked", "idle", "under", "way"],
        ["source", "lab", "5%", "75%", "20%"],
        ["workers", "main", "12%", "88%", "0%"],
        ["step", "main.python[0]", "99%", "0%", "1%", "3"],
        ["sink", "readings", "0%", "0%", "100%"],
    ]
    assert max(map(len, table)) <= 80


async def test_a_certificate_is_shown_with_its_end(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    await run("--socket", place)
    assert re.search(r"^source lab: its certificate expires \d{4}-", capsys.readouterr().out, re.MULTILINE)


async def test_json_is_the_document_itself(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("--json", "--socket", place) == 0
    assert json.loads(capsys.readouterr().out)["sources"][0]["frames"]["received"] == 1_234_567


async def test_the_last_reload_is_told_with_its_outcome(
    place: str, view: View, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    view.reloaded_at_wall_s = 1_700_000_000.0
    assert await run("--socket", place) == 0
    shown = capsys.readouterr().out
    assert "loaded 2023-11-14 22:13:20\n" in shown
    assert "failed" not in shown
    view.reload_failure = ReloadFailure(1_700_000_060.0, "a.toml:1: no \x1b[2J\na.toml:2: no")
    assert await run("--socket", place) == 0
    shown = capsys.readouterr().out
    assert "last reload failed 2023-11-14 22:14:20, the daemon keeps the previous configuration:\n" in shown
    assert "  a.toml:1: no \\x1b[2J\n  a.toml:2: no\n" in shown


@pytest.mark.parametrize(
    ("config", "runtime"),
    [
        ('[daemon]\nstate_dir = "{folder}"\n', ""),
        ('[daemon]\nstate_dir = "{folder}/x"\n[control]\npath = "{folder}/control.sock"\n', "/nowhere"),
        ('[control]\npath = "{folder}/control.sock"\n[sources.half]\ntype = "nonsen"\n', ""),
        ("", "{folder}"),
    ],
)
async def test_the_socket_comes_from_the_configuration(
    place: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    config: str,
    runtime: str,
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", runtime.format(folder=tmp_path))
    written = tmp_path / "streamd.toml"
    written.write_text(config.format(folder=Path(place).parent))
    assert await run("--config", str(written)) == 0
    assert "ready" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "said"),
    [('"none"', "turns the control socket off"), ("5", "streamd.toml:2: control.path: should be a text")],
)
async def test_a_control_socket_that_cannot_be_asked_is_said(
    path: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "streamd.toml"
    written.write_text(f"[control]\npath = {path}\n")
    assert await run("--config", str(written)) == 2
    assert said in capsys.readouterr().err


async def test_nobody_there_is_one_line_and_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    for name in ("dead.sock", "none.sock"):
        assert await run("--socket", str(tmp_path / name)) == 1
        error = capsys.readouterr().err
        assert f"no daemon answers at {tmp_path / name}" in error
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
    answer: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    path = str(tmp_path / "other.sock")
    server = await asyncio.start_unix_server(talk, path)
    for options in ((), ("--watch",)):
        assert await run("--socket", path, *options) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert error.removesuffix("\n").isprintable()
    server.close()


async def test_watching_shows_a_page_a_second_until_the_daemon_ends(
    place: str, server: ControlServer, view: View, capsys: pytest.CaptureFixture[str], until: Until
) -> None:
    watching = asyncio.create_task(run("--watch", "--socket", place))
    shown = ""

    def has(text: str) -> bool:
        nonlocal shown
        shown += capsys.readouterr().out
        return text in shown

    await until(lambda: has("running for"))
    view.phase = "draining"
    await until(lambda: has("draining for"))
    assert "\x1b[2J" not in shown, "only a terminal is cleared"
    await server.close()
    assert await watching == 1
    assert f"{place} sends no more events: the daemon has ended" in capsys.readouterr().err


async def test_watching_as_json_is_a_document_a_line(
    place: str, server: ControlServer, capsys: pytest.CaptureFixture[str], until: Until
) -> None:
    watching = asyncio.create_task(run("--watch", "--json", "--socket", place))
    shown = ""

    def has_two_lines() -> bool:
        nonlocal shown
        shown += capsys.readouterr().out
        return shown.count("\n") >= 2

    await until(has_two_lines)
    await server.close()
    assert await watching == 1
    for line in shown.splitlines():
        assert json.loads(line)["sources"][0]["frames"]["received"] == 1_234_567


async def test_one_who_watches_too_many_is_told(
    place: str, server: ControlServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server._exchange, "_max_streams", 0)
    assert await run("--watch", "--socket", place) == 1
    assert "answered 503: too many clients" in capsys.readouterr().err
