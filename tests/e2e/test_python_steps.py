"""Python steps in a real daemon: their modules through reloads, their objects, and what they print."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
[admin]
listen = "none"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["floor"]
sinks = ["records"]
steps = [
  {{ type = "python", function = "steps.py:{function}" {options} }},
  {{ type = "python", function = "steps.py:elsewhere", executor = "process" }},
]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""
STEPS = """
import os

import helper


def here(record):
    return record | {"here": helper.VERSION}


def elsewhere(record):
    return record | {"elsewhere": helper.VERSION}


class Model:
    def __init__(self, note):
        self.note = note
        self.say("made")

    def say(self, word):
        with open(self.note, "a") as file:
            file.write(word + "\\n")

    def __call__(self, record):
        return record | {"here": helper.VERSION, "pid": os.getpid()}

    def close(self):
        self.say("closed")
"""


def stored(daemon: Any, wait_until: Callable[..., Any], n: int) -> dict[str, Any]:
    daemon.tcp(b'{"n":%d}\n' % n)
    sql = f"SELECT record FROM records WHERE record ->> 'n' = {n}"  # noqa: S608 - a number
    record: dict[str, Any] = json.loads(wait_until(lambda: daemon.query(sql), f"record {n}")[0][0])
    return record


def reloaded(daemon: Any, dry_run: str = "") -> dict[str, Any]:
    code, body = daemon.control("POST", f"/reload{dry_run}")
    assert code == 200, body
    changes: dict[str, Any] = json.loads(body)
    return changes


def test_a_changed_helper_reaches_every_executor_with_the_reload_and_none_before(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    (tmp_path / "steps.py").write_text(STEPS)
    (tmp_path / "helper.py").write_text("VERSION = 1\n")
    (tmp_path / "random.py").write_text("raise SystemExit('not the standard library')\n")
    daemon = start(CONFIG.format(function="here", options=""))
    assert reloaded(daemon)["nothing"]
    (tmp_path / "helper.py").write_text("VERSION = 2\n")
    assert stored(daemon, wait_until, 1) == {"n": 1, "here": 1, "elsewhere": 1}
    both = ["main > python[0]", "main > python[1]"]
    assert reloaded(daemon, "?dry_run=1")["steps"]["replaced"] == both
    assert stored(daemon, wait_until, 2) == {"n": 2, "here": 1, "elsewhere": 1}
    assert reloaded(daemon)["steps"]["replaced"] == both
    assert stored(daemon, wait_until, 3) == {"n": 3, "here": 2, "elsewhere": 2}
    assert reloaded(daemon)["nothing"]
    daemon.stop()


def test_an_object_is_made_once_closed_at_the_end_and_made_anew_by_a_reload(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    (tmp_path / "steps.py").write_text(STEPS)
    (tmp_path / "helper.py").write_text("VERSION = 1\n")
    note = tmp_path / "note"
    options = f', params = {{ note = "{note}" }}'
    daemon = start(CONFIG.format(function="Model", options=options))
    assert stored(daemon, wait_until, 1)["pid"] == daemon.process.pid
    stored(daemon, wait_until, 2)
    assert note.read_text() == "made\n"
    (tmp_path / "helper.py").write_text("VERSION = 2\n")
    reloaded(daemon, "?dry_run=1")
    assert note.read_text() == "made\n"
    reloaded(daemon)
    assert stored(daemon, wait_until, 3)["here"] == 2
    assert sorted(note.read_text().split()) == ["closed", "made", "made"]
    (tmp_path / "steps.py").write_text(STEPS.replace('self.say("made")', 'raise OSError("no model")'))
    code, body = daemon.control("POST", "/reload")
    assert (code, "OSError: no model (steps.py:" in body) == (503, True)
    assert daemon.events("step_cannot_open")[0]["exception"][-1] == "OSError: no model"
    assert stored(daemon, wait_until, 4)["here"] == 2
    daemon.stop()
    assert sorted(note.read_text().split()) == ["closed", "closed", "made", "made"]


def test_check_makes_no_object_and_names_a_param_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(STEPS)
    (tmp_path / "helper.py").write_text("VERSION = 1\n")
    note = tmp_path / "note"
    config = tmp_path / "streamd.toml"

    def check(options: str) -> subprocess.CompletedProcess[str]:
        config.write_text(CONFIG.format(function="Model", options=options))
        return subprocess.run(
            [sys.executable, "-m", "streamd", "check", "--config", str(config)],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert check(f', params = {{ note = "{note}" }}').returncode == 0
    assert not note.exists()
    wrong = check(f', params = {{ notes = "{note}" }}')
    assert wrong.returncode == 2
    assert "streamd.toml:12: pipelines.main.steps[0].params.notes: " in wrong.stderr
    assert "did you mean 'note'?" in wrong.stderr


PRINTING = """
[admin]
listen = "none"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["floor"]
sinks = ["out"]
steps = [{{ type = "python", function = "steps.py:step", executor = "{executor}" }}]
[sinks.out]
{sink}
"""


@pytest.fixture
def printing(tmp_path: Path, start: Callable[..., Any]) -> Callable[..., Any]:
    """A daemon whose standard output is a file, and which prints in a step."""

    def begin(executor: str, sink: str, head: str) -> Any:
        (tmp_path / "steps.py").write_text(
            f"{head} step(record):\n    print('printed', record['n'])\n    return record\n"
        )
        config = PRINTING.format(executor=executor, sink=sink)
        return start(config, "sh", "-c", 'exec "$@" > out', "sh")

    return begin


@pytest.mark.parametrize(
    ("executor", "head"), [("inline", "def"), ("inline", "async def"), ("thread", "def"), ("process", "def")]
)
@pytest.mark.parametrize("sink", ['type = "stdout"', 'type = "sqlite"\npath = "x.db"'])
def test_what_a_step_prints_is_out_at_once_and_never_among_records(
    printing: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any],
    executor: str, head: str, sink: str,
) -> None:  # fmt: skip
    daemon = printing(executor, sink, head)
    daemon.tcp(b'{"n":7}\n')
    out = tmp_path / "out"
    wait_until(lambda: "printed 7" in daemon.stderr + out.read_text(), "the printed line while it runs")
    os.kill(daemon.process.pid, signal.SIGTERM)
    assert daemon.process.wait(60) == 0
    assert "books balance" in daemon.stderr
    if "stdout" in sink:
        assert out.read_text() == '{"n":7}\n'
        assert "printed 7\n" in daemon.stderr
