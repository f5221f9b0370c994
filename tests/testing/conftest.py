"""Runs tests of a configuration in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest

from streamd.config import load
from streamd.testing import files, report
from streamd.testing.run import Result, run

PLANT = """
[schemas.reading]
sensor = "str"
value = { type = "float", ge = -50 }
[sources.lab]
type = "udp"
listen = "127.0.0.1:1"
codec = "json"
schema = "reading"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:1"
codec = "json"
[sources.log]
type = "file"
path = "plant.log"
codec = "json"
[pipelines.main]
sources = ["lab", "floor", "log"]
sinks = ["readings", { name = "alarms", where = "value > 90" }]
steps = [
  { type = "filter", where = "sensor != 'test'" },
  { type = "set", fields = { warm = "value > 20.0" } },
]
[sinks.readings]
type = "sqlite"
path = "/nowhere/readings.db"
columns = { sensor = "str", value = "float", warm = "bool" }
metadata = true
extra = "reject"
[sinks.alarms]
type = "tcp"
address = "127.0.0.1:2"
"""


class Suite:
    """A configuration and its tests in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "plant.toml"
        self.config = PLANT

    def write(self, tests: str, config: str | None = None) -> None:
        self.path.write_text((config or self.config) + tests)

    def run(self, tests: str, config: str | None = None, *, update: bool = False) -> list[Result]:
        """Run the tests on the configuration; with `update`, they may expect nothing."""
        self.write(tests, config)
        return self.again(update=update)

    def again(self, *, update: bool = False) -> list[Result]:
        loaded = load(self.path)
        return list(run(loaded, files.find(loaded, without_expectation=update)))

    def fails(self, tests: str, config: str | None = None) -> str:
        """The explanation of one test that fails."""
        (result,) = self.run(tests, config)
        assert not result.passed
        return "\n".join(report.explanation(result))

    def passes(self, tests: str, config: str | None = None) -> None:
        for result in self.run(tests, config):
            assert result.passed, "\n".join(report.lines(result))


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path)


@pytest.fixture
def counting(suite: Suite) -> Callable[[str], str]:
    """A configuration whose step counts records and emits their number 30 s after the first one."""
    (suite.folder / "count.py").write_text(COUNT)

    def config(options: str = "") -> str:
        return COUNTING.replace("OPTIONS", options)

    return config


COUNT = """
import json
import random
import time

seen = []

class Count:
    def __init__(self):
        self.n, self.due = 0, None
    def __call__(self, record):
        seen.append(record)
        self.n += 1
        self.due = self.due or time.monotonic() + 30
        return []
    def next_deadline(self):
        return self.due
    def tick(self, now):
        self.due = None
        return {"n": self.n, "at": time.time(), "seen": len(seen), "dice": random.randint(1, 6)}
    def snapshot(self):
        return json.dumps([self.n, None if self.due is None else self.due - time.monotonic()]).encode()
    def restore(self, state):
        self.n, left_s = json.loads(state)
        self.due = None if left_s is None else time.monotonic() + left_s
"""
COUNTING = """
[sources.log]
type = "file"
path = "plant.log"
codec = "json"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:1"
codec = "json"
[pipelines.main]
sources = ["log", "floor"]
sinks = ["counts"]
steps = [{ type = "python", function = "count.py:Count" OPTIONS }]
[sinks.counts]
type = "file"
path = "counts.ndjson"
"""
