"""What an administrator asks while a daemon runs, and what other users are told."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
[admin]
listen = "127.0.0.1:{admin}"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:{tcp}"
[pipelines.main]
sources = ["floor"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "{path}"
"""
COMMANDS = (
    ("query", "SELECT 1"),
    ("tail", "records"),
    ("check",),
    ("dead-letters", "list"),
    ("dead-letters", "replay"),
    ("dead-letters", "purge", "--all", "--yes"),
)


def streamd(folder: Path, *words: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, sys.executable, "-m", "streamd", *words, "--config", "streamd.toml"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
    )


def ports_of(daemon: Any) -> dict[str, int]:
    (admin,) = daemon.events("admin_listening")
    (floor,) = daemon.events("listening")
    return {
        "admin": int(admin["address"].rpartition(":")[2]),
        "tcp": int(floor["address"].rpartition(":")[2]),
    }


def test_check_takes_no_offence_at_ports_that_the_daemon_of_this_configuration_holds(start: Any) -> None:
    daemon = start(CONFIG.format(admin=0, tcp=0, path="data.db"))
    ports = ports_of(daemon)
    daemon.tcp(b'{"n":1}\n')
    daemon.config.write_text(CONFIG.format(**ports, path="data.db"))
    good = streamd(daemon.folder, "check")
    assert (good.returncode, good.stderr) == (0, "")
    assert "the configuration is good" in good.stdout
    daemon.config.write_text(CONFIG.format(**ports, path="data.db").replace("floor", "other"))
    assert streamd(daemon.folder, "check").returncode == 0, "a reload gives the socket to the other name"
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        taken = {**ports, "tcp": foreign.getsockname()[1]}
        daemon.config.write_text(CONFIG.format(**taken, path="data.db"))
        refused = streamd(daemon.folder, "check")
    assert refused.returncode == 1
    assert "source floor: cannot listen" in refused.stderr
    daemon.stop()


@pytest.mark.parametrize("path", ["data.db", "data-%Y-%m-%d.db"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_whoever_may_not_look_into_the_state_folder_is_told_so_in_one_line(
    words: tuple[str, ...], path: str, tmp_path: Path
) -> None:
    as_nobody: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may look everywhere, and there is no setpriv to be somebody else")
        as_nobody = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    (tmp_path / "streamd.toml").write_text(CONFIG.format(admin=0, tcp=0, path=path))
    state = tmp_path / "var"
    state.mkdir()
    state.chmod(0o000)
    refused = streamd(tmp_path, *words, prefix=as_nobody)
    state.chmod(0o700)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert f"{state}/" in refused.stderr
    said = "Permission denied" if words == ("check",) else "is not for this user"  # check says what run says
    assert said in refused.stderr


def test_a_database_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    as_nobody = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    if as_nobody and shutil.which("setpriv") is None:
        pytest.skip("root may read everything, and there is no setpriv to be somebody else")
    (tmp_path / "streamd.toml").write_text(CONFIG.format(admin=0, tcp=0, path="data.db"))
    data = tmp_path / "var" / "data.db"
    data.parent.mkdir()
    data.touch(mode=0o200)
    refused = streamd(tmp_path, "query", "SELECT 1", prefix=as_nobody)
    assert refused.returncode == 1
    assert refused.stderr == f"streamd: {data} is not for this user: join its group, or become its user\n"
