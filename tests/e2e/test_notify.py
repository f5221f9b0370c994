"""What a service manager hears from a whole daemon."""

import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class Manager:
    """Reads what is sent to `$NOTIFY_SOCKET`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[list[str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def hear(self, word: str, deadline_s: float = 30.0) -> list[str]:
        """The next message with this word in it; those before it are in `heard` too."""
        end_s = time.monotonic() + deadline_s
        while True:
            self._socket.settimeout(max(0.01, end_s - time.monotonic()))
            message = self._socket.recv(4096).decode().split("\n")
            self.heard.append(message)
            if any(word in line for line in message):
                return message

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def test_ready_comes_when_everything_listens_and_stopping_before_the_drain(
    start: Callable[..., Any], manager: Manager
) -> None:
    daemon = start(ready=False, NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="1000000")
    first = manager.hear("READY=1")
    assert first == ["READY=1", "STATUS=received 0, lost 0, kernel 0", "WATCHDOG=1"]
    daemon.wait_ready()
    daemon.tcp(b"one\ntwo\n")
    assert "WATCHDOG=1" in manager.hear("received 2, lost 0, kernel 0")
    daemon.stop()
    stopping = manager.hear("STOPPING=1")
    assert "EXTEND_TIMEOUT_USEC=15000000" in stopping
    assert any(line.startswith("STATUS=draining: received 2") for line in stopping)


def test_a_commit_that_hangs_starves_the_watchdog_until_it_ends(
    start: Callable[..., Any], manager: Manager
) -> None:
    daemon = start(
        NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="1000000", STREAMD_FAILPOINT="sqlite.commit:hang:8"
    )
    daemon.udp(b"x")
    assert "WATCHDOG=1" not in manager.hear("a commit has been under way")
    manager.hear("WATCHDOG=1")
    daemon.wait_rows(1)
    daemon.stop()


def test_a_reload_is_told_with_the_time_it_began_and_ends_ready_also_where_it_is_refused(
    start: Callable[..., Any], manager: Manager, wait_until: Callable[..., Any]
) -> None:
    daemon = start(NOTIFY_SOCKET=str(manager.path))
    good = daemon.config.read_text()
    for text, event in ((good, "reloaded"), ("[sources.a]\ntype = 'upd'\n", "reload_failed")):
        daemon.config.write_text(text)
        before_us = time.monotonic_ns() // 1000
        daemon.process.send_signal(signal.SIGHUP)
        told = manager.hear("RELOADING=1")
        (began_us,) = [int(line.partition("=")[2]) for line in told if line.startswith("MONOTONIC_USEC=")]
        assert before_us <= began_us <= time.monotonic_ns() // 1000
        manager.hear("READY=1")
        wait_until(lambda event=event: daemon.events(event), event)
    daemon.udp(b"still")
    daemon.wait_rows(1)
    daemon.stop()
