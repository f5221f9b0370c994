"""What is seen of a daemon that answers at a control socket of this process."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamd.cli._observation import observation
from streamd.core.errors import EnvironmentFault
from tests.capacity.test_measured import status
from tests.cli.test_capacity import Answering


def documents(config: str) -> list[dict[str, Any]]:
    return [
        status(100.0 + n, 1000 * (n + 1), busy_s=0.1, sink_busy_s=0.1) | {"config": config} for n in range(4)
    ]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "streamd.toml").write_text(
        '[sources.a]\ntype = "generate"\n[sinks.b]\ntype = "stdout"\n'
        '[pipelines.main]\nsources = ["a"]\nsinks = ["b"]\n'
    )
    answering = Answering(tmp_path / "control.sock", documents(str(tmp_path / "streamd.toml")))
    yield tmp_path / "control.sock"
    answering.end()


def test_it_has_the_status_the_configuration_and_the_cpu_time_of_the_process(daemon: Path) -> None:
    asked: list[int] = []

    def cpu_s_of(pid: int) -> float:
        asked.append(pid)
        return 2.5 * len(asked)

    found = observation(daemon, 2.0, cpu_s_of)
    assert [one.uptime_s for one in found.seen] == [100.0, 101.0, 102.0]
    assert found.config is not None
    assert [one.type for one in found.config.sources.values()] == ["generate"]
    assert asked == [os.getpid(), os.getpid()]
    assert found.cpu_s == 2.5


def test_what_this_user_may_not_see_is_none(daemon: Path) -> None:
    def cpu_s_of(pid: int) -> float:
        raise PermissionError(pid)

    daemon.with_name("streamd.toml").unlink()
    found = observation(daemon, 1.0, cpu_s_of)
    assert (found.config, found.cpu_s) == (None, None)


def test_without_a_daemon_it_is_a_fault_of_the_environment(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="no daemon answers at"):
        observation(tmp_path / "none.sock", 1.0, lambda _: 0.0)
