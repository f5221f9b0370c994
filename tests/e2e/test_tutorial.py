"""The tutorial's commands, in the order in which its reader types them, print what the page shows."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial" / "chart.md"
TEXT = PAGE.read_text()
STREAMD = f"{shlex.quote(sys.executable)} -m streamd"
(CHART,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
BLOCKS = [re.sub(r"(?m)^    ", "", block) for block in re.findall(r"(?:^    .*\n)+", TEXT, re.MULTILINE)]


def typed() -> Iterator[tuple[str, str]]:
    """Each command of the page, and the output that the page shows for it."""
    for block, after in zip(BLOCKS, [*BLOCKS[1:], ""], strict=True):
        commands = re.split(r"(?m)^\$ ", block)[1:]
        for command in commands:
            is_last = command is commands[-1]
            yield command.strip(), after if is_last and not after.startswith("$ ") else ""


def cells(output: str) -> list[list[str]]:
    """The rows of a table, also if it is written for another program; without measured times."""
    output = re.sub(r"in [\d.]+ s, [\d,]+/s|\(\d+ ms|\([\d.]+ s\)", "…", output)
    lines = [line for line in output.splitlines() if line and not re.fullmatch(r"[- ]+", line)]
    return [re.split(r"\t|  +", line.strip()) for line in lines]


class Reader:
    """Types the commands of the page one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._left = list(typed())

    def types(self, begin: str, *, running: bool = True) -> tuple[str, str]:
        """The output of the next command, which begins so, and the output that the page shows.

        With `running` the configuration is that of the daemon under test.
        """
        command, shown = self._left.pop(0)
        assert command.startswith(begin)
        changes = {
            "bin/streamd": STREAMD, ":9999": f":{self.port}", "python3 ": f"{shlex.quote(sys.executable)} ",
            " config/": f" {shlex.quote(str(ROOT))}/config/",
        }  # fmt: skip
        if running:
            changes["plant/iot-sensors.toml"] = "streamd.toml"
        for old, new in changes.items():
            command = command.replace(old, new)
        done = subprocess.run(
            ["sh", "-c", command], cwd=self.folder, capture_output=True, text=True, timeout=60, check=False,
            env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
        )  # fmt: skip
        assert done.stderr == "" or "--update" in command, done.stderr
        return done.stdout, shown

    def sees_what_is_shown(self, begin: str, *, running: bool = True) -> None:
        printed, shown = self.types(begin, running=running)
        assert cells(printed) == cells(shown)
        assert shown

    def skips(self, begin: str) -> None:
        command, _ = self._left.pop(0)
        assert command.startswith(begin)

    @property
    def is_done(self) -> bool:
        return not self._left


def test_the_tutorial(tmp_path: Path, start: Callable[..., Any], wait_until: Callable[..., Any]) -> None:
    reader = Reader(tmp_path)
    reader.types("mkdir")
    reader.types("cp")
    checked, _ = reader.types("bin/streamd check", running=False)
    assert checked.endswith("the configuration is good\n")
    reader.skips("bin/streamd run")
    config = (tmp_path / "plant" / "iot-sensors.toml").read_text().replace(":9999", ":0")
    # The test does not wait as long as its reader.
    assert config.count('every = "1m"') == 1
    config = config.replace('every = "1m"', 'every = "8s"') + '\n[ledger]\ninterval = "1s"\n'
    daemon = start(config + '[admin]\nlisten = "none"\n')
    _, reader.port = daemon.address("cable")

    reader.sees_what_is_shown("bin/streamd send")
    assert len((tmp_path / "plant" / "faults.ndjson").read_text().splitlines()) == 112
    daemon.wait_rows(689, "minutes", "plant.db")
    daemon.wait_rows(46, "gaps", "plant.db")
    extreme = "SELECT count(*) FROM alarms WHERE expect IS NULL"
    wait_until(lambda: daemon.query(extreme, "plant.db") == [(25,)], "the alarms")
    counted, shown = reader.types("bin/streamd status")
    for got, wanted in zip(counted.splitlines(), shown.splitlines(), strict=True):
        assert got.startswith(wanted), "on a slow machine, sensors may be late already"
    failed = "SELECT count(*) FROM quality WHERE failed > 0"
    wait_until(lambda: daemon.query(failed) == [(4,)], "the quality of the data")
    reader.sees_what_is_shown("bin/streamd query")
    letters, shown = reader.types("bin/streamd dead-letters list")
    for part in (
        "rule:range",
        "value_range: value: -999.0 is below -60",
        '{"ts":"2026-01-31T08:53:23.333000Z"',
    ):
        assert part in letters
        assert part in shown
    for _ in range(3):
        reader.sees_what_is_shown("bin/streamd query")
    (tmp_path / "plant" / "chart.py").write_text(CHART)
    assert reader.types("bin/streamd query") == ("", "")
    drawn = (tmp_path / "plant" / "chart.svg").read_text()
    assert drawn == (PAGE.parent / "chart.svg").read_text()
    late = "SELECT count(*) FROM alarms WHERE expect = 'late'"
    wait_until(lambda: daemon.query(late, "plant.db") == [(12,)], "the sensors that are late")
    reader.sees_what_is_shown("bin/streamd query")

    old, new = re.findall(r'"s/([^/]*)/([^/]*)/"', TEXT)[0]
    daemon.config.write_text(daemon.config.read_text().replace(old, new))
    reader.types("sed", running=False)
    assert new in (tmp_path / "plant" / "iot-sensors.toml").read_text()
    reader.sees_what_is_shown("bin/streamd test", running=False)
    reader.types("bin/streamd test", running=False)
    passed, _ = reader.types("bin/streamd test", running=False)
    assert "8 tests, all passed" in passed
    reader.sees_what_is_shown("bin/streamd reload")
    assert reader.is_done
    daemon.stop()
    books = BLOCKS[-1].splitlines()
    assert len(books) == 4
    assert all(line in daemon.stderr for line in books)
