import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamd.service.systemd import microseconds, notify, watchdog_s


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What the service manager would read."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield sock


def test_one_datagram_holds_all_assignments(manager: socket.socket) -> None:
    assert notify("READY=1", "STATUS=received 3")
    assert manager.recv(4096) == b"READY=1\nSTATUS=received 3"


def test_an_abstract_name_begins_with_an_at_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"streamd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert notify("WATCHDOG=1")
        assert sock.recv(4096) == b"WATCHDOG=1"


def test_a_value_cannot_smuggle_in_an_assignment(manager: socket.socket) -> None:
    assert notify("STATUS=a\nMAINPID=1")
    assert manager.recv(4096) == b"STATUS=a MAINPID=1"


def test_a_lone_surrogate_does_not_raise(manager: socket.socket) -> None:
    assert notify("STATUS=\udcff")
    assert manager.recv(4096) == b"STATUS=?"


def test_nothing_is_sent_where_no_manager_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")


@pytest.mark.parametrize(
    "address", ["", "relative", "vsock:2:1", "/nobody/listens", "@nobody-here", "/" * 200]
)
def test_an_address_nobody_listens_at_does_not_raise(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")


def test_a_manager_that_does_not_read_is_not_waited_for(manager: socket.socket) -> None:
    sent = 0
    while notify(f"STATUS={sent}"):
        sent += 1
        assert sent < 100_000, "the queue has no end"
    assert manager.recv(4096) == b"STATUS=0"


def test_microseconds_are_whole() -> None:
    assert microseconds(1.5) == 1_500_000


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "7"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_interval_is_that_of_this_process(
    environ: dict[str, str], expected: float | None
) -> None:
    assert watchdog_s(environ, 7) == expected
