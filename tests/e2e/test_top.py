"""`streamd top` in a pseudo terminal beside a real daemon."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamd.cli import main

CONFIG = """
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
[pipelines.main]
sources = ["lab", "floor"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
"""
SGR = re.compile(r"\x1b\[[0-9;]*m")
DEADLINE_S = 60
ROOT = Path(__file__).parent.parent.parent


class Screen:
    """`streamd top` in a terminal, and the lines that the terminal shows."""

    def __init__(self, folder: Path, width: int = 80, height: int = 24) -> None:
        self.ours, self.theirs = pty.openpty()
        self.resize(width, height)
        self.before = termios.tcgetattr(self.theirs)
        env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamd", "top", "--config", "streamd.toml"],
            cwd=folder, stdin=self.theirs, stdout=self.theirs, stderr=subprocess.PIPE, start_new_session=True,
            env=env | {"TERM": "xterm", "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self.written = ""

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def read(self, wait_s: float = 0.2) -> None:
        while select.select([self.ours], [], [], wait_s)[0]:
            self.written += os.read(self.ours, 65536).decode()
            wait_s = 0

    def lines(self) -> list[str]:
        """The newest page that was written whole."""
        pages = [part.partition("\x1b[J")[0] for part in self.written.split("\x1b[H")[1:] if "\x1b[J" in part]
        return SGR.sub("", pages[-1]).replace("\x1b[K", "").split("\r\n") if pages else []

    def until(self, shown: Callable[[list[str]], bool]) -> list[str]:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            self.read()
            if (lines := self.lines()) and shown(lines):
                return lines
            assert self.process.poll() is None, self.written[-2000:]
        raise AssertionError("\n".join(self.lines()))

    def row(self, name: str) -> list[str]:
        return (
            self.until(lambda lines: any(line.startswith(name) for line in lines))
            and next(line for line in self.lines() if line.startswith(name)).split()
        )

    def ended(self, code: int) -> None:
        """The command ends with this code, and the terminal is as before."""
        deadline = time.monotonic() + DEADLINE_S
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
        assert self.process.wait(1) == code
        self.read(0.5)
        assert termios.tcgetattr(self.theirs) == self.before
        assert self.written.rstrip().endswith("\x1b[?7h\x1b[?25h\x1b[?1049l")
        assert self.process.stderr is not None
        assert b"Traceback" not in self.process.stderr.read()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def top() -> Iterator[Callable[..., Screen]]:
    with contextlib.ExitStack() as stack:

        def begin(*arguments: Any) -> Screen:
            screen = Screen(*arguments)
            stack.callback(screen.close)
            return screen

        yield begin


def test_every_number_is_that_of_the_status(
    start: Any, top: Callable[..., Screen], capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = start(CONFIG)
    daemon.udp(*[b'{"a": 1}'] * 30, *[b"{"] * 7)
    daemon.wait_rows(30)
    daemon.wait_rows(7, "dead_letters", "dead-letters.db")
    screen = top(daemon.folder, 120, 30)
    assert screen.until(lambda lines: lines[0].startswith("✓ Healthy"))[0].count("nothing lost since") == 1
    screen.until(lambda lines: any(line.startswith("lab") and " - " not in line for line in lines))
    assert main(["status", "--json", "--config", str(daemon.config)]) == 0
    status = json.loads(capsys.readouterr().out)
    frames = status["sources"][0]["frames"]
    stored = status["sinks"][0]["deliveries"][0]["records"]
    assert (frames["received"], frames["rejected"], stored["stored"]) == (37, {"json:syntax": 7}, 30)
    headings = screen.row("sources")
    lab = dict(zip(headings, screen.row("lab"), strict=False))
    assert lab | {"wait": ""} == lab | {
        "sources": "lab", "in/s": "0", "out/s": "0", "rejected": "7", "lost": "0", "lost/s": "0",
        "fill": "0%", "wait": "",
    }  # fmt: skip
    assert screen.row("main")[:6] == ["main", "0", "0", "0", "0", "0"]
    assert screen.row("records")[:7] == ["records", "0", "0", "0", "0", "0", "0%"]
    assert main(["top", "--once", "--config", str(daemon.config)]) == 0
    once = capsys.readouterr().out
    assert any(line.split()[:2] == ["records", "0"] for line in once.splitlines())
    assert "\x1b" not in once
    screen.press("q")
    screen.ended(0)
    daemon.stop()


def test_keys_sort_filter_pause_and_help_and_the_page_follows_the_terminal(
    start: Any, top: Callable[..., Screen]
) -> None:
    daemon = start(CONFIG)
    screen = top(daemon.folder)
    screen.until(lambda lines: lines[3].startswith("sources") and lines[4].startswith("lab"))
    screen.press("s")
    screen.until(lambda lines: lines[3].startswith("sources▲") and lines[4].startswith("floor"))
    screen.press("/la")
    screen.until(lambda lines: lines[-1].startswith("filter: la_") and lines[4].startswith("lab"))
    screen.press("\r\x1b")
    screen.until(lambda lines: lines[-1].startswith("s sort") and lines[4].startswith("floor"))
    screen.press("?")
    screen.until(lambda lines: lines[0].startswith("streamd top") and any("quit" in line for line in lines))
    screen.press("xp")
    screen.until(lambda lines: lines[-1].startswith("paused"))
    screen.resize(40, 12)
    os.kill(screen.process.pid, signal.SIGWINCH)
    lines = screen.until(lambda lines: len(lines) == 12 and max(map(len, lines)) <= 40)
    assert "wait" not in lines[3]
    screen.process.send_signal(signal.SIGINT)  # the terminal is not that of a session, so it sends none
    screen.ended(130)
    daemon.stop()


def test_a_killed_daemon_is_named_and_the_next_one_is_found(start: Any, top: Callable[..., Screen]) -> None:
    daemon = start(CONFIG)
    screen = top(daemon.folder)
    screen.until(lambda lines: lines[0].startswith("✓ Healthy"))
    daemon.process.kill()
    daemon.process.wait()
    lines = screen.until(lambda lines: lines[0].startswith("✕ No daemon"))
    assert any(line.startswith("lab") for line in lines)  # the old figures stay
    again = start(CONFIG)
    screen.until(lambda lines: lines[0].startswith("✓ Healthy"))
    screen.process.send_signal(signal.SIGTERM)
    screen.ended(143)
    again.stop()


def test_a_stopped_daemon_leaves_old_figures_and_the_page_says_so(
    start: Any, top: Callable[..., Screen]
) -> None:
    daemon = start(CONFIG)
    screen = top(daemon.folder)
    screen.until(lambda lines: lines[0].startswith("✓ Healthy"))
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        screen.until(lambda lines: lines[0].startswith("… Stale · no news from the daemon for"))
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    screen.until(lambda lines: lines[0].startswith("✓ Healthy"))
    screen.process.send_signal(signal.SIGTSTP)
    deadline = time.monotonic() + DEADLINE_S
    while termios.tcgetattr(screen.theirs) != screen.before and time.monotonic() < deadline:
        screen.read()
    assert termios.tcgetattr(screen.theirs) == screen.before  # Ctrl-Z gives the terminal back
    while (state := Path(f"/proc/{screen.process.pid}/stat").read_text().rpartition(") ")[2][0]) != "T":
        assert time.monotonic() < deadline, state
        screen.read()
    screen.written = ""
    screen.process.send_signal(signal.SIGCONT)
    screen.until(lambda lines: lines[-1].endswith("q quit") and bool(screen.lines()))
    screen.press("q")
    screen.ended(0)
    daemon.stop()
