"""A pipe, a device or a socket in place of a file is refused in one sentence; no command waits for it."""

import os
import signal
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType

import pytest

from streamd.cli import main
from streamd.dead_letters.row import TABLE

OF_CONFIGURATIONS = [
    ["run", "--config=@"], ["run", "@"], ["check", "--config=@"], ["check", "@"], ["try", "--config=@"],
    ["doctor", "--config=@"], ["test", "--config=@"], ["test", "@"], ["status", "--config=@"],
    ["status", "@"], ["reload", "--config=@"], ["top", "--once", "--config=@"], ["page", "--config=@"],
    ["tap", "x", "--config=@"], ["tail", "t", "--config=@"], ["query", "select 1", "--config=@"],
    ["plot", "select 1", "--config=@"], ["state", "list", "--config=@"],
    ["state", "drop", "1", "--yes", "--config=@"], ["capacity", "--rate=×2", "--config=@"],
    ["install-service", "--dry-run", "--config=@"],
    *(["dead-letters", *words, "--config=@"]
      for words in (["list"], ["show", "1"], ["edit", "1"], ["replay", "1"], ["purge", "--yes", "1"])),
]  # fmt: skip
OF_SOCKETS = [["status"], ["reload"], ["top", "--once"], ["page"], ["tap", "x"], ["capacity", "--rate=×2"]]
OF_OTHERS = [
    *([*words, "--socket=@"] for words in OF_SOCKETS),
    *([*words, "--db=@"] for words in (["tail", "t"], ["query", "select 1"], ["plot", "select 1"],
      ["state", "list"], ["state", "drop", "1", "--yes"], ["dead-letters", "list"],
      ["dead-letters", "show", "1"], ["dead-letters", "purge", "1", "--yes"])),
    ["logs", "@"], ["send", "@", "udp://127.0.0.1:9"], ["send", "--as=json", "@", "tcp://127.0.0.1:9"],
    ["dead-letters", "edit", "1", "--config=streamd.toml", "--with=@"],
    *(["capacity", "--rate=×2", "--config=streamd.toml", f"--{one}=@"] for one in ("bench", "ledger")),
    ["capacity", "--sheet", "1/s", "--bench=@"],
]  # fmt: skip
PLACES = ["pipe", "/dev/zero", "socket"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("streamd.toml").write_text(
        '[daemon]\nstate_dir = "."\n[sources.lab]\ntype = "generate"\n'
        '[sinks.out]\ntype = "stdout"\n[pipelines.main]\nsources = ["lab"]\nsinks = ["out"]\n'
    )
    with closing(sqlite3.connect("dead-letters.db")) as connection:
        connection.execute(TABLE)
        connection.execute(
            "INSERT INTO dead_letters VALUES"
            " (1, '2026-01-31T08:00:00.000000Z', 'lab', NULL, NULL, NULL, 'decode', 'x', '', 'frame', X'00')"
        )
        connection.commit()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        yield


class Waits(BaseException):
    """A command has waited for a minute."""


@pytest.fixture(autouse=True)
def bell() -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Waits

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("words", [*OF_CONFIGURATIONS, *OF_OTHERS], ids=" ".join)
def test_it_is_refused_in_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for place in PLACES:
        try:
            code = main([word.replace("@", place) for word in words])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr().err.strip()
        assert code in (1, 2), (place, said)
        assert "Traceback" not in said
        sentence = said.splitlines()[-1]
        assert ("regular file" in sentence) is ("--socket=@" not in words), sentence
