"""The how-to guide of the steps that know records by key does what it says."""

import json
import re
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from streamd import registry
from streamd.core.contracts import Step, StepContext
from streamd.core.now import Now

TEXT = (Path(__file__).parents[2] / "docs/how-to/duplicates-and-gaps.md").read_text()
BLOCKS: dict[str, list[str]] = {}
for _kind, _text in re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL):
    BLOCKS.setdefault(_kind, []).append(_text)
A_TIME = r"\d{4}-\d\d-\d\dT[\d:.]+Z"


def step_of(table: dict[str, Any]) -> Step[Any]:
    cls = registry.load("steps", table["type"])
    config = cls.Config.model_validate({key: value for key, value in table.items() if key != "type"})
    step: Step[Any] = cls(config, StepContext("step[0]", "p", None, Path()))
    return step


def test_the_example_makes_the_output_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "streamd.toml").write_text(BLOCKS["toml"][0])
    command = [sys.executable, "-m", "streamd", "try", "--config", str(tmp_path / "streamd.toml")]
    done = subprocess.run(command, input=BLOCKS["json"][0], capture_output=True, text=True, check=True)
    assert re.sub(A_TIME, "T", done.stdout) == re.sub(A_TIME, "T", BLOCKS["text"][0])


def test_the_view_shows_what_is_missing_now() -> None:
    step = step_of(tomllib.loads(BLOCKS["toml"][0])["pipelines"]["readings"]["steps"][1])
    made: list[dict[str, Any]] = []
    for numbers, now in (([1, 5, 6], Now(1e9, 0.0)), ([3], Now(1e9 + 20, 20.0)), ([8], Now(1e9 + 21, 21.0))):
        made += step.tick(now).records
        made += step.process([{"device": "d-1", "n": n} for n in numbers], now).records
    made += step.tick(Now(1e9 + 99, 99.0)).records
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE gap_records (device, gap_from, gap_to, missing, received_at)")
    connection.executemany(
        "INSERT INTO gap_records VALUES (:device, :gap_from, :gap_to, :missing, 't')",
        [record for record in made if "missing" in record],
    )
    connection.executescript(BLOCKS["sql"][0])
    assert connection.execute("SELECT device, gap_from, gap_to, missing FROM gaps").fetchall() == [
        ("d-1", 2, 2, 1), ("d-1", 3, 4, 1), ("d-1", 7, 7, 1),
    ]  # fmt: skip
    connection.close()


def test_a_silent_device_makes_the_record_of_the_page() -> None:
    (table,) = tomllib.loads(BLOCKS["toml"][1])["steps"]
    step = step_of(table)
    step.process([{"device": "d-1"}], Now(1_769_846_400.0, 0.0))
    late = step.tick(Now(1_769_846_460.0, 60.0)).records
    shown: dict[str, Any] = json.loads(BLOCKS["json"][1])
    assert late[0] == shown
    assert [record["device"] for record in late] == ["d-1", "d-2"]


def test_the_limits_of_the_page_let_the_records_pass_that_it_names() -> None:
    throttle, sample = (step_of(table) for table in tomllib.loads(BLOCKS["toml"][2])["steps"])
    now = Now(1e9, 1.0)
    passed = throttle.process([{"device": "d", "alarm": "hot", "n": n} for n in range(9)], now).records
    assert [record["n"] for record in passed] == [0, 1, 2]
    assert len(sample.process([{"n": n} for n in range(30)], now).records) == 3
