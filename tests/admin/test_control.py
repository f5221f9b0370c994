"""Also about `admin/own_socket.py` and `admin/parameters.py`."""

import asyncio
import grp
import json
import os
import socket
import sqlite3
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamd.admin import control as control_module
from streamd.admin.backing import Backing
from streamd.admin.control import AskingProcess, ControlServer
from streamd.admin.view import ReloadFailure
from streamd.admin.watch import Watch
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.dead_letters.row import COLUMNS, TABLE

Until = Callable[[Callable[[], bool]], Awaitable[None]]


async def pace(seconds: float) -> None:
    """Time between two writes of a client, or in which it does not read."""
    await asyncio.sleep(seconds)


class Reloading:
    """What a daemon does when it is asked to reload."""

    def __init__(self) -> None:
        self.asked: list[tuple[bool, AskingProcess]] = []
        self.done = 0
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.error: Exception | None = None

    async def __call__(self, dry_run: bool, peer: AskingProcess) -> dict[str, Any]:
        self.asked.append((dry_run, peer))
        await self.may_end.wait()
        self.done += 1
        if self.error is not None:
            raise self.error
        return {"dry_run": dry_run, "nothing": True}


@pytest.fixture
async def reloading() -> Reloading:
    return Reloading()


@pytest.fixture
def make(
    tmp_path: Path, world: Any, reloading: Reloading, backing: Callable[..., Backing]
) -> Callable[..., ControlServer]:
    def made(**options: Any) -> ControlServer:
        defaults: dict[str, Any] = {
            "path": tmp_path / "var" / "control.sock",
            "group": None,
            "reload": reloading,
            "backing": backing(),
            "timeout_s": 30.0,
        }
        return ControlServer(world.view, Watch(world.view), **{**defaults, **options})

    return made


@pytest.fixture
async def control(
    make: Callable[..., ControlServer], request: pytest.FixtureRequest
) -> AsyncIterator[ControlServer]:
    """A server that waits long for its clients, or for the seconds that `parametrize` gives it."""
    server = make(timeout_s=getattr(request, "param", 30.0))
    await server.open()
    yield server
    await server.close()


async def raw(control: ControlServer, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(control.path)
    writer.write(sent)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def ask(control: ControlServer, target: str, method: str = "GET") -> tuple[int, Any]:
    """The code, and the document or the text."""
    answer = await raw(control, f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    text = body.decode()
    return int(head.split()[1]), json.loads(text) if b"application/json" in head else text


async def test_status_is_the_document(control: ControlServer, world: Any) -> None:
    world.fill_books()
    world.view.reloaded_at_wall_s = 1_700_000_000.0
    world.view.reload_failure = ReloadFailure(1_700_000_060.0, "a.toml:1: no\na.toml:2: no")
    world.view.control_refused["timeout"] = 2

    code, document = await ask(control, "/status")

    assert code == 200
    assert document["sources"][0]["frames"]["received"] == 1000
    assert document["config_loaded_at"] == "2023-11-14T22:13:20+00:00"
    assert document["reload_failure"] == {
        "at": "2023-11-14T22:14:20+00:00",
        "why": ["a.toml:1: no", "a.toml:2: no"],
    }
    assert (document["admin"], document["control"]) == ({"refused": {}}, {"refused": {"timeout": 2}})


@pytest.mark.parametrize(
    ("target", "dry"), [("/reload", False), ("/reload?dry_run=0", False), ("/reload?dry_run=1", True)]
)
async def test_a_reload_answers_what_it_changes_and_knows_who_asked(
    control: ControlServer, reloading: Reloading, target: str, dry: bool
) -> None:
    assert await ask(control, target, "POST") == (200, {"dry_run": dry, "nothing": True})
    assert reloading.asked == [(dry, AskingProcess(os.getpid(), os.getuid(), os.getgid()))]


@pytest.mark.parametrize(
    "line", ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"]
)
@pytest.mark.parametrize("target", ["POST /reload", "GET /status?watch=1", "GET /dead-letters"])
async def test_a_web_page_gets_nothing_where_the_socket_is_forwarded_to_a_port(
    control: ControlServer, reloading: Reloading, target: str, line: str
) -> None:
    answer = await raw(control, f"{target} HTTP/1.1\r\nHost: localhost:8080\r\n{line}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert (reloading.asked, control.refused) == ([], {"origin": 1})


@pytest.mark.parametrize(("kind", "code"), [(ConfigError, 422), (EnvironmentFault, 503)])
async def test_a_refused_reload_is_its_lines(
    control: ControlServer, reloading: Reloading, kind: type[Exception], code: int
) -> None:
    reloading.error = kind("a.toml:1: x\nb.toml:2: \x1b[2J")
    assert await ask(control, "/reload", "POST") == (code, "a.toml:1: x\nb.toml:2: \\x1b[2J\n")


async def test_a_reload_may_take_longer_than_a_request(control: ControlServer, reloading: Reloading) -> None:
    reloading.may_end.clear()
    answer = asyncio.create_task(ask(control, "/reload", "POST"))
    while not reloading.asked:
        await asyncio.sleep(0)
    (connection,) = control._exchange.connections
    assert connection._deadline is None
    assert (await ask(control, "/status"))[0] == 200
    assert not answer.done()
    reloading.may_end.set()
    assert (await answer)[0] == 200
    assert control.refused == {}


async def test_a_client_that_goes_away_does_not_end_its_reload(
    control: ControlServer, reloading: Reloading, until: Until
) -> None:
    reloading.may_end.clear()
    _, writer = await asyncio.open_unix_connection(control.path)
    writer.write(b"POST /reload HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: bool(reloading.asked))
    writer.transport.abort()
    assert (await ask(control, "/status"))[0] == 200
    reloading.may_end.set()
    await until(lambda: reloading.done == 1)


async def test_a_reload_with_a_broken_body_is_refused_and_not_done(
    control: ControlServer, reloading: Reloading
) -> None:
    head = b"POST /reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert (await raw(control, head + b"no chunk\r\n")).startswith(b"HTTP/1.1 400 ")
    assert reloading.asked == []
    assert control.refused == {"request": 1}


async def test_what_follows_a_request_does_not_touch_what_it_has_begun(
    control: ControlServer, reloading: Reloading, until: Until
) -> None:
    reloading.may_end.clear()
    reader, writer = await asyncio.open_unix_connection(control.path)
    writer.write(b"POST /reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    await until(lambda: bool(reloading.asked))
    writer.write(b"no chunk\r\nPOST /reload HTTP/1.1\r\nHost: x\r\n\r\n")
    writer.write_eof()
    (connection,) = control._exchange.connections
    await until(lambda: connection._has_half_closed)
    reloading.may_end.set()
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    assert len(reloading.asked) == 1
    assert control.refused == {}


async def test_the_status_can_be_watched(control: ControlServer, world: Any) -> None:
    world.fill_books()
    reader, writer = await asyncio.open_unix_connection(control.path)
    try:
        writer.write(b"GET /status?watch=1 HTTP/1.0\r\n\r\n")
        assert b"content-type: text/event-stream" in await reader.readuntil(b"\r\n\r\n")
        found: list[tuple[int, int]] = []
        for received in (1001, 1002):
            name, number, data = (await reader.readuntil(b"\n\n")).split(b"\n", 2)
            assert name == b"event: status"
            document = json.loads(data.removeprefix(b"data: "))
            found.append((int(number.split()[1]), document["sources"][0]["frames"]["received"]))
            world.books.source("lab").received = received
    finally:
        writer.close()
    (first, before), (second, after) = found
    assert (before, after) == (1000, 1001)
    assert second > first


async def test_who_reads_slowly_misses_events_and_gets_no_old_ones(
    make: Callable[..., ControlServer], world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamd.admin.repeated.INTERVAL_S", 0.01)
    world.view.lost_files = lambda: ["x" * 1000]
    control = make()
    await control.open()
    reader, writer = await asyncio.open_unix_connection(control.path, limit=16384)
    try:
        writer.write(b"GET /status?watch=1 HTTP/1.0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await pace(1)  # a hundred events
        ids: list[int] = []
        while not ids or ids[-1] - ids[0] < 100:
            line = b""
            while not line.startswith(b"id: "):
                line = (await reader.readuntil(b"\n"))[:100]
            ids.append(int(line[4:]))
    finally:
        writer.close()
        await control.close()
    assert len(ids) < 50
    assert control.refused == {}


async def test_those_who_watch_get_one_and_the_same_document(
    control: ControlServer, world: Any, until: Until
) -> None:
    opened = [await asyncio.open_unix_connection(control.path) for _ in range(8)]
    for reader, writer in opened:
        writer.write(b"GET /status?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
    before = world.refreshed
    for _ in range(2):
        for reader, _writer in opened:
            await reader.readuntil(b"\n\n")
    assert world.refreshed - before <= 3
    assert (await ask(control, "/status?watch=1"))[0] == 503
    for _, writer in opened:
        writer.close()
    await until(lambda: not control._exchange.connections)
    assert control.refused == {"streams": 1}


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize(
    ("method", "target", "code"),
    [
        ("GET", "/reload", 405),
        ("HEAD", "/reload", 405),
        ("POST", "/status", 405),
        ("DELETE", "/dead-letters/1", 405),
        ("GET", "/nothing", 404),
        ("GET", "/events?watch=1", 400),
        ("GET", "/history?s=1&since=1", 400),
        ("GET", "/history?s=-1", 400),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/status?watch=2", 400),
        ("GET", "/status?wach=1", 400),
        ("GET", "/dead-lettersx", 404),
        ("POST", "/reload?dry_run=yes", 400),
        ("POST", "/reload?dryrun=1", 400),
        ("POST", "/reload?dry_run", 400),
        ("POST", "/reload?%ff=1", 400),
        ("GET", "/dead-letters?sorce=x", 400),
        ("GET", "/dead-letters?limit=-1", 400),
        ("GET", "/dead-letters?limit=9999999999999999999999", 400),
        ("GET", "/dead-letters?since=yesterday", 400),
        ("GET", "/dead-letters/count?limit=1", 400),
        ("GET", "/dead-letters/1?reason=x", 400),
        ("GET", "/dead-letters/one", 400),
        ("GET", "/dead-letters/", 200),
        ("GET", "/dead-letters/1/2", 400),
        ("GET", "/dead-letters/99", 404),
    ],
)
async def test_what_there_is_not_is_refused_and_nothing_is_reloaded(
    control: ControlServer, reloading: Reloading, method: str, target: str, code: int
) -> None:
    assert (await ask(control, target, method))[0] == code
    assert reloading.asked == []


@pytest.fixture
def letters(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "dead-letters.db") as connection:
        connection.execute(TABLE)
        connection.executemany(
            f"INSERT INTO dead_letters ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})",  # noqa: S608 - our own words
            [
                (f"2026-01-0{n}T00:00:00.000000Z", source, *[None] * 3, "decode", reason, "", "frame", data)
                for n, source, reason, data in [
                    (1, "lab", "json:syntax", b"\xff\x00"),
                    (2, "lab", "json:syntax", b"x" * 100),
                    (3, "floor", "json:depth", "text"),
                ]
            ],
        )  # fmt: skip
    connection.close()


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", [3, 2, 1]),
        ("?limit=1", [3]),
        ("?limit=999999", [3, 2, 1]),
        ("?source=lab&reason=json%3Asyntax", [2, 1]),
        ("?stage=decode&since=2026-01-02T00:00:00Z", [3, 2]),
        ("?pipeline=main", []),
    ],
)
async def test_letters_are_listed_by_the_filters_of_the_command(
    control: ControlServer, query: str, ids: list[int]
) -> None:
    code, found = await ask(control, f"/dead-letters{query}")
    assert (code, [letter["id"] for letter in found["letters"]]) == (200, ids)


@pytest.mark.usefixtures("letters")
async def test_a_list_has_the_beginning_of_a_payload_and_one_letter_all_of_it(control: ControlServer) -> None:
    _, found = await ask(control, "/dead-letters")
    assert [letter["payload"] for letter in found["letters"]] == [
        "text",
        "x" * 60 + "… [40 more]",
        "\\xff\\x00",
    ]
    assert (await ask(control, "/dead-letters/2"))[1]["payload"] == "x" * 100
    assert (await ask(control, "/dead-letters/1"))[1]["payload_base64"] == "/wA="


@pytest.mark.usefixtures("letters")
async def test_letters_are_counted_by_source_stage_and_reason(control: ControlServer) -> None:
    assert await ask(control, "/dead-letters/count?source=lab") == (
        200,
        {
            "counts": [
                {
                    "source": "lab",
                    "stage": "decode",
                    "reason": "json:syntax",
                    "count": 2,
                    "first": "2026-01-01T00:00:00.000000Z",
                    "last": "2026-01-02T00:00:00.000000Z",
                }
            ],
            "left_out": 0,
        },
    )


async def test_without_a_file_of_letters_that_is_said(control: ControlServer) -> None:
    code, text = await ask(control, "/dead-letters")
    assert code == 503
    assert "dead-letters.db yet" in text


async def test_a_fault_of_ours_is_an_answer_without_a_traceback(
    control: ControlServer, reloading: Reloading
) -> None:
    reloading.error = RuntimeError("secret detail")
    with capture_logs() as logged:
        assert await ask(control, "/reload", "POST") == (500, "internal error, see the log\n")
    assert logged[0]["event"] == "control_answer_failed"
    reloading.error = None
    assert (await ask(control, "/reload", "POST"))[0] == 200


async def test_what_is_no_request_or_too_large_is_counted(control: ControlServer) -> None:
    assert (await raw(control, b"\x16\x03\x01\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert (await raw(control, b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000)).startswith(b"HTTP/1.1 431 ")
    assert control.refused == {"request": 2}


@pytest.mark.parametrize("control", [0.3], indirect=True)
async def test_a_request_that_is_too_slow_is_counted(control: ControlServer) -> None:
    assert await raw(control, b"GET /status") == b""
    assert control.refused == {"timeout": 1}


async def test_connections_over_the_cap_are_closed_and_counted(
    make: Callable[..., ControlServer], until: Until
) -> None:
    control = make()
    await control.open()
    most = control_module.MAX_CONNECTIONS
    opened = [await asyncio.open_unix_connection(control.path) for _ in range(most)]
    await until(lambda: len(control._exchange.connections) == most)
    assert await raw(control, b"") == b""
    assert control.refused == {"connections": 1}
    for _, writer in opened:
        writer.close()
    await until(lambda: not control._exchange.connections)
    assert (await ask(control, "/status"))[0] == 200
    await control.close()


@pytest.mark.parametrize(
    ("systemd", "group", "mode"), [(False, None, 0o600), (True, None, 0o660), (False, "own", 0o660)]
)
async def test_who_may_use_it(
    make: Callable[..., ControlServer],
    monkeypatch: pytest.MonkeyPatch,
    systemd: bool,
    group: str | None,
    mode: int,
) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    if systemd:
        monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/streamd")
    before = os.umask(0o077)
    try:
        control = make(group=group and grp.getgrgid(os.getgid()).gr_name)
        await control.open()
    finally:
        os.umask(before)
    assert stat.S_IMODE(control.path.stat().st_mode) == mode
    await control.close()
    assert not control.path.exists()


async def test_a_group_that_there_is_not_is_said(make: Callable[..., ControlServer]) -> None:
    control = make(group="no-such-group")
    with pytest.raises(EnvironmentFault, match=r"\[control\]: cannot listen .*no group 'no-such-group'"):
        await control.open()
    await control.close()


async def test_the_socket_of_a_dead_process_is_replaced(make: Callable[..., ControlServer]) -> None:
    control = make()
    control.path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(control.path))
        dead.listen()
    await control.open()
    assert (await ask(control, "/status"))[0] == 200
    await control.close()


async def test_a_living_one_is_left_alone(control: ControlServer, make: Callable[..., ControlServer]) -> None:
    second = make()
    with pytest.raises(EnvironmentFault, match="is another streamd running"):
        await second.open()
    await second.close()
    assert (await ask(control, "/status"))[0] == 200


async def test_what_is_no_socket_is_left_alone(make: Callable[..., ControlServer], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(EnvironmentFault, match="there is a file that is no socket"):
        await make(path=tmp_path / "file").open()
    assert (tmp_path / "file").read_text() == "mine"


async def test_a_path_too_long_for_the_kernel_is_tried_from_the_current_folder(
    make: Callable[..., ControlServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path.joinpath(*["x" * 50] * 3)
    deep.mkdir(parents=True)
    with pytest.raises(EnvironmentFault, match="longer than 107 bytes"):
        await make(path=deep / "control.sock").open()
    monkeypatch.chdir(deep)
    control = make(path=deep / "control.sock")
    await control.open()
    assert (deep / "control.sock").is_socket()
    await control.close()
    assert not (deep / "control.sock").exists()


async def test_closing_ends_open_connections_without_a_traceback_and_can_be_repeated(
    make: Callable[..., ControlServer], until: Until
) -> None:
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    control = make()
    await control.open()
    reader, writer = await asyncio.open_unix_connection(control.path)
    await until(lambda: len(control._exchange.connections) == 1)
    await control.close()
    await control.close()
    try:
        assert await reader.read() == b""
    except ConnectionResetError:
        pass
    finally:
        writer.close()
    assert faults == []
