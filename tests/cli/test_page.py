import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streamd.admin.control import AskingProcess, ControlServer
from streamd.admin.view import View
from streamd.admin.watch import Watch
from streamd.cli import main
from streamd.cli.page import url
from streamd.core.books import Books
from streamd.core.clock import read_clock
from tests.backing import backing_in

TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of a test


@pytest.fixture
def view() -> View:
    return View(
        books=Books(), refresh=lambda: None, buffers=tuple, sinks=tuple, sources=tuple,
        dead_letters=Counter(), clock=read_clock, version="1.2.3", run_id="run-1",
        started_at_wall_s=read_clock().wall_s, config_path="a.toml",
    )  # fmt: skip


@pytest.fixture
async def place(view: View, tmp_path: Path) -> AsyncIterator[str]:
    async def reload(dry_run: bool, peer: AskingProcess) -> dict[str, Any]:
        raise AssertionError((dry_run, peer))

    path = tmp_path / "control.sock"
    server = ControlServer(view, Watch(view), path, group=None, reload=reload, backing=backing_in(tmp_path))
    await server.open()
    yield str(path)
    await server.close()


async def run(*arguments: str) -> int:
    return await asyncio.to_thread(main, ["page", *arguments])


async def test_the_address_has_the_token_in_its_fragment(
    view: View, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    view.page = lambda: (["127.0.0.1:9900", "[::1]:9900"], TOKEN)
    assert await run("--socket", place) == 0
    assert capsys.readouterr().out == f"http://127.0.0.1:9900/#token={TOKEN}\n"
    assert await run("--socket", place, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "pages": [f"http://127.0.0.1:9900/#token={TOKEN}", f"http://[::1]:9900/#token={TOKEN}"],
        "served_at": ["127.0.0.1:9900", "[::1]:9900"],
        "token": TOKEN,
    }


async def test_a_unix_socket_is_reached_through_ssh(
    view: View, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    view.page = lambda: (["unix:/run/streamd/admin.sock"], TOKEN)
    assert await run("--socket", place) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("ssh -L 127.0.0.1:9900:/run/streamd/admin.sock ")
    assert second == f"http://127.0.0.1:9900/#token={TOKEN}"


async def test_without_an_admin_address_it_says_so(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("--socket", place) == 1
    assert "streamd: there is no page: the admin address is turned off" in capsys.readouterr().err


async def test_without_a_daemon_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("--socket", str(tmp_path / "none.sock")) == 1
    assert "no daemon answers at" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("served_at", "expected"),
    [
        ("0.0.0.0:80", f"http://{socket.gethostname()}:80/"),
        ("[::]:80", f"http://{socket.gethostname()}:80/"),
        ("192.0.2.1:9900", "http://192.0.2.1:9900/"),
    ],
)
def test_the_address_for_a_browser(served_at: str, expected: str) -> None:
    assert url(served_at) == expected
