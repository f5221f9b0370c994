"""A configuration without `state_dir`: commands ask the daemon that runs on it where its data is."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

STREAMD = [sys.executable, "-W", "error", "-m", "streamd"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*STREAMD, *arguments], cwd=folder, capture_output=True, check=False, text=True)


def test_commands_find_the_data_of_a_daemon_that_was_started_elsewhere(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    away = tmp_path / "away"
    away.mkdir()
    daemon = start()
    daemon.udp(b'{"a":1}', b"\xff")
    daemon.wait_rows(1)
    config = ["--config", str(daemon.config)]
    for arguments in (
        ["status", *config],
        ["reload", "--dry-run", str(daemon.config)],
        ["query", "select count(*) from records", *config],
        ["tail", *config],
        ["dead-letters", "count", *config],
        ["dead-letters", "replay", "--dry-run", *config],
    ):
        done = run(away, *arguments)
        assert done.returncode == 0, (arguments, done.stderr)
    assert run(away, "query", "select count(*) from records", *config).stdout == "count(*)\n1\n"
    assert list(away.iterdir()) == []
    daemon.stop()


def test_where_no_daemon_runs_the_places_are_said_and_what_to_type(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    away = tmp_path / "away"
    away.mkdir()
    daemon = start()
    daemon.udp(b'{"a":1}')
    daemon.wait_rows(1)
    daemon.stop()
    for arguments in (["query", "select 1"], ["tail"], ["dead-letters", "list"]):
        done = run(away, *arguments, "--config", str(daemon.config))
        assert done.returncode == 1
        assert f"there is no {away}/var, and no daemon that runs on {daemon.config} was found" in done.stderr
        assert "--db FILE" in done.stderr
    assert run(tmp_path, "query", "select 1", "--config", str(daemon.config)).returncode == 0
