"""What the log of a real daemon holds, and what it never holds."""

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import preloaded

SECRET = "hunter2-the-word-nobody-may-see"  # noqa: S105 - it is made to be looked for

STEPS = """
import os
from pathlib import Path

KEY = os.environ["API_KEY"]
CREDENTIAL = (Path(os.environ["CREDENTIALS_DIRECTORY"]) / "key").read_text()

def sign(record):
    key, beside = KEY, {"credential": CREDENTIAL}
    if key and beside:
        raise ValueError("the signing service said no")
"""

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
[pipelines.main]
sources = ["floor"]
sinks = ["records"]
steps = [{{ type = "python", function = "steps.py:sign", executor = "{executor}" }}]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""


def streamd(daemon: Any, *words: str, **env: str) -> str:
    """What a command of ours prints, on both of its outputs."""
    done = preloaded.run([*words, "--config", str(daemon.config)], daemon.folder, {**os.environ, **env})
    return done.stdout + done.stderr


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_a_secret_of_a_step_that_fails_is_shown_nowhere(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], executor: str
) -> None:
    (tmp_path / "steps.py").write_text(STEPS)
    (tmp_path / "key").write_text(SECRET)
    env = {"API_KEY": SECRET, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    daemon = start(CONFIG.format(executor=executor), **env)
    daemon.tcp(b'{"n": 1}\n')
    wait_until(lambda: daemon.events("step_failed"), "the step's failure")
    wait_until(lambda: daemon.dead_letters("floor"), "the dead letter")
    told = {"/status": daemon.control("GET", "/status")[1]}
    for path in ("/metrics", "/readyz"):
        with urllib.request.urlopen(daemon.admin() + path, timeout=30) as answer:  # noqa: S310 - our own http
            told[path] = answer.read().decode()
    for words in (["check"], ["check", "--json"], ["check", "--resolved"], ["dead-letters", "list"]):
        told[" ".join(words)] = streamd(daemon, *words, **env)
    daemon.stop()
    told["log"] = daemon.stderr
    assert "raise ValueError" in told["log"]  # the traceback is there
    assert "sign" in told["check --resolved"]
    assert "exception" in told["dead-letters list"]
    assert [name for name, text in told.items() if SECRET in text] == []


@pytest.mark.parametrize("value", [f'"{SECRET}"', f'{{ env = "{SECRET}" }}', f'["{SECRET}"]'])
def test_the_value_of_an_unknown_key_is_not_quoted(tmp_path: Path, value: str) -> None:
    config = tmp_path / "streamd.toml"
    config.write_text(f'[sources.lab]\ntype = "udp"\nlisten = "127.0.0.1:0"\npasswort = {value}\n')
    done = subprocess.run(
        [sys.executable, "-m", "streamd", "check", "--config", str(config)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "sources.lab.passwort" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_each_of_many_sources_tells_where_it_listens(start: Callable[..., Any]) -> None:
    names = [f"s{n}" for n in range(60)]
    sources = "".join(f'[sources.{name}]\ntype = "tcp"\nlisten = "127.0.0.1:0"\n' for name in names)
    daemon = start(f"""{sources}
[admin]
listen = "127.0.0.1:0"
[pipelines.main]
sources = {names}
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
""")
    assert sorted(event["source"] for event in daemon.events("listening")) == sorted(names)
    daemon.tcp(b"one\n", source="s59")
    daemon.stop()
    assert daemon.events("suppressed") == []


def test_an_error_that_prevents_the_start_has_its_priority_in_the_journal(tmp_path: Path) -> None:
    (tmp_path / "streamd.toml").write_text("sources = 1\nworkers = 2\n")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        there = os.fstat(theirs.fileno())
        subprocess.run(
            [sys.executable, "-m", "streamd", "run", "--config", str(tmp_path / "streamd.toml")],
            stderr=theirs.fileno(),
            check=False,
            env={**os.environ, "JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"},
        )
        said = ours.recv(1 << 16).decode()
    assert "streamd.toml" in said
    assert all(line.startswith("<3>") for line in said.splitlines())
