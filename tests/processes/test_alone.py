"""A daemon in one process has the whole configuration, and prints its own books."""

import os
from pathlib import Path

import pytest

from streamd.config import load
from streamd.logs import logs
from streamd.processes.alone import Alone
from tests.admin.conftest import World
from tests.processes.test_share import CONFIG


def test_it_runs_everything(tmp_path: Path) -> None:
    path = tmp_path / "streamd.toml"
    path.write_text(CONFIG)
    loaded = load(path)
    assert Alone().share(loaded) is loaded


def test_each_run_has_its_own_id_and_no_run_beside_it() -> None:
    one, other = Alone(), Alone()
    assert one.run_id != other.run_id
    assert not one.runs_beside(other.run_id)


def test_it_takes_the_watchdog_and_the_sockets_of_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "5000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "0")
    alone = Alone()
    assert alone.watchdog_s == 5.0
    alone.sockets()
    assert "LISTEN_FDS" not in os.environ


async def test_it_prints_its_books_unless_it_never_started(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    monkeypatch.setattr(logs, "print_line", printed.append)
    world = World()
    world.view.phase = "starting"
    await Alone().finish(world.view)
    assert not printed
    world.books.source("lab").received = 3
    await Alone().finish(world.view)
    assert printed[0].startswith("source lab: received 3 = ")
    assert printed[-1] == "books do not balance: source lab: 3 frames waiting"
