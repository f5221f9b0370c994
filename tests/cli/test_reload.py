import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.admin import client
from streamd.admin.client import place_of
from streamd.cli import main
from streamd.cli.reload import ReloadAnswer, lines
from streamd.config import ControlSettings, DaemonSettings

CHANGES = {
    "dry_run": False,
    "nothing": False,
    "sources": {"kept": ["lab"], "added": ["n\x1b[2J"], "removed": ["old"], "changed": ["floor"]},
    "sinks": {"kept": ["a", "b"], "replaced": ["more"], "added": [], "removed": ["gone"]},
    "steps": {"kept": [], "replaced": ["main > python[0]"], "added": [], "removed": ["main > set[1]"]},
    "pipelines": {"kept": ["other"], "changed": ["main"], "added": [], "removed": []},
    "settings": {"changed": ["log.level"]},
}  # fmt: skip
REFUSED = "a.toml:1: x\\x1b[2J\nb.toml:2: y\n"


@pytest.fixture
async def answering(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """A socket that gives one answer to everything; the request lines it got."""
    servers = []

    async def serve(code: int, body: bytes) -> tuple[str, list[bytes]]:
        asked: list[bytes] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append((await reader.readuntil(b"\r\n\r\n")).splitlines()[0])
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (code, len(body), body))
            await writer.drain()
            writer.close()

        path = str(tmp_path / "control.sock")
        servers.append(await asyncio.start_unix_server(talk, path))
        return path, asked

    yield serve
    for server in servers:
        server.close()


async def run(*arguments: str) -> int:
    return await asyncio.to_thread(main, ["reload", *arguments])


async def test_what_changes_is_told_in_words_and_what_stays_as_a_number(
    answering: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path, asked = await answering(200, json.dumps(CHANGES).encode())
    assert await run("--socket", path) == 0
    assert asked == [b"POST /reload HTTP/1.1"]
    assert capsys.readouterr().out.splitlines() == [
        "reloaded",
        "  source n\\x1b[2J: added",
        "  source old: removed, its received records are still stored",
        "  source floor: changed, keeps its socket, connections and queue",
        "  sink more: reopened after the old sink has written its buffer",
        "  sink gone: removed after it has written its buffer",
        "  step main > python[0]: made again; its state goes on if it still fits, as the log says",
        "  step main > set[1]: removed",
        "  pipeline main: changed: its sources, its sinks or their where",
        "  setting log.level: changed",
        "  unchanged: 1 source, 2 sinks, 1 pipeline",
    ]


async def test_a_dry_run_asks_for_one(
    answering: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path, asked = await answering(200, json.dumps({**CHANGES, "dry_run": True}).encode())
    assert await run("--dry-run", "--socket", path) == 0
    assert asked == [b"POST /reload?dry_run=1 HTTP/1.1"]
    assert capsys.readouterr().out.startswith("a reload would make these changes\n")


@pytest.mark.parametrize(
    ("dry_run", "said"), [(True, "nothing would change"), (False, "reloaded: nothing has changed")]
)
def test_no_change_is_one_line(dry_run: bool, said: str) -> None:
    assert lines(ReloadAnswer(dry_run, True, {"kept": ["lab"]}, {}, {})) == [said]


async def test_json_is_the_answer_itself(
    answering: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = await answering(200, json.dumps(CHANGES).encode())
    assert await run("--json", "--socket", path) == 0
    assert json.loads(capsys.readouterr().out) == CHANGES


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (422, 2, f"streamd: the configuration is refused, the daemon keeps the previous one\n{REFUSED}"),
        (503, 1, f"streamd: not reloaded, the daemon keeps the previous configuration\n{REFUSED}"),
        (200, 1, "streamd: the program that answers at {path} is not streamd\n"),
    ],
)  # fmt: skip
async def test_a_refusal_is_its_lines_and_an_exit_code(
    answering: Callable[..., Any], capsys: pytest.CaptureFixture[str], answer: int, code: int, said: str
) -> None:
    path, _ = await answering(answer, b"a.toml:1: x\x1b[2J\nb.toml:2: y\n")
    assert await run("--socket", path) == code
    assert capsys.readouterr().err == said.format(path=path)


async def test_without_a_daemon_it_is_one_line_and_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "streamd.toml"
    config.write_text(f'[daemon]\nstate_dir = "{tmp_path}"\n[control]\npath = "c.sock"\n')
    assert await run("--config", str(config)) == 1
    error = capsys.readouterr().err
    assert f"no daemon answers at {tmp_path}/c.sock" in error
    assert error.count("\n") == 1


def test_the_installed_configuration_s_daemon_is_looked_for_where_its_unit_has_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    installed, own = Path("/etc/streamd/streamd.toml"), Path("streamd.toml")
    daemon = DaemonSettings(state_dir=str(tmp_path))
    default = ControlSettings()
    assert place_of(installed, daemon, default) == Path("/run/streamd/control.sock")
    assert place_of(own, daemon, default) == tmp_path / "control.sock"
    assert place_of(installed, daemon, ControlSettings(path="c.sock")) == tmp_path / "c.sock"
    assert place_of(installed, daemon, ControlSettings(path="none")) is None
    (tmp_path / "control.sock").touch()
    assert place_of(installed, daemon, default) == tmp_path / "control.sock"


async def test_a_file_of_wrong_syntax_is_told_as_the_daemon_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "streamd.toml"
    config.write_text("[daemon\n")
    assert await run("--config", str(config)) == 2
    assert f"{config}:1:8: " in capsys.readouterr().err


async def test_a_file_of_wrong_syntax_hides_the_installed_daemon_from_nobody(
    answering: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, asked = await answering(422, b"a.toml:1: x\n")
    config = tmp_path / "streamd.toml"
    config.write_text("[daemon\n")
    monkeypatch.setattr(client, "SEARCHED", (str(config),))
    monkeypatch.setattr(client, "UNDER_SYSTEMD", Path(path))
    assert await run("--config", str(config)) == 2
    assert capsys.readouterr().err.endswith("the daemon keeps the previous one\na.toml:1: x\n")
    assert len(asked) == 1, "the daemon, so that its log and status have it too"
