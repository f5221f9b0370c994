"""The how-to guide of forecasts does what it says."""

import json
import random
import re
import sqlite3
import subprocess
import sys
import tomllib
from math import sin, tau
from pathlib import Path
from typing import Any

import pytest

from streamd import registry
from streamd.core.contracts import StepContext
from streamd.core.now import Now
from streamd.core.timestamp import from_epoch

TEXT = (Path(__file__).parents[2] / "docs/how-to/forecasts.md").read_text()
(CONFIG,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
SHOWN = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]
(QUERY,) = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
BEGAN_S = 1_769_904_000
"""2026-02-01T00:00:00Z."""


@pytest.fixture(scope="module")
def made() -> list[dict[str, Any]]:
    """The records of six days of a daily wave with noise."""
    (options,) = tomllib.loads(CONFIG)["pipelines"]["readings"]["steps"]
    cls = registry.load("steps", options.pop("type"))
    step = cls(cls.Config.model_validate(options), StepContext("forecast[0]", "p", None, Path()))
    rnd = random.Random(1)  # noqa: S311 - the same values in every run
    records = [
        {
            "sensor": "t-1",
            "value": 20 + 4 * sin(tau * n / 288) + rnd.gauss(0, 0.4),
            "@received_at": from_epoch(BEGAN_S + 300 * n),
        }
        for n in range(6 * 288)
    ]
    return [record for record in step.process(records, Now(BEGAN_S, 0.0)).records if "forecast" in record]


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    (tmp_path / "streamd.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "streamd", "check", "--config", str(tmp_path / "streamd.toml")]
    subprocess.run(command, capture_output=True, check=True)


def test_a_prediction_and_its_score_have_the_fields_that_are_shown(made: list[dict[str, Any]]) -> None:
    for shown in SHOWN:
        (found,) = (
            record
            for record in made
            if all(record[name] == shown[name] for name in ("forecast", "target", "horizon_s"))
        )
        assert [name for name in found if not name.startswith("@")] == list(shown)
        for name, value in shown.items():
            assert found[name] == (pytest.approx(value, abs=0.006) if isinstance(value, float) else value)
    prediction, score = SHOWN
    assert score["error"] == pytest.approx(score["actual"] - score["predicted"])
    assert {name: score[name] for name in prediction} == prediction | {"forecast": "score"}


def test_the_query_says_how_good_they_were(made: list[dict[str, Any]]) -> None:
    columns = tomllib.loads(CONFIG)["sinks"]["scores"]["columns"]
    with sqlite3.connect(":memory:") as database:
        database.execute(f"CREATE TABLE scores ({', '.join(columns)})")
        database.executemany(
            f"INSERT INTO scores VALUES ({', '.join('?' * len(columns))})",  # noqa: S608 - names of columns
            [[one[name] for name in columns] for one in made if one["forecast"] == "score"],
        )
        rows = database.execute(QUERY).fetchall()
    assert [row[:2] for row in rows] == [("t-1", 300.0), ("t-1", 3600.0)]
    for *_, scores, error, skill, inside in rows:
        assert scores > 1400
        assert error == pytest.approx(0.4, abs=0.1)
        assert skill > 0.0
        assert inside == pytest.approx(0.95, abs=0.02)


def test_the_defaults_are_those_of_the_table() -> None:
    fields = registry.load("steps", "forecast").Config.model_fields
    for name, default in re.findall(r"^\| `(\w+)` \((.+?)\)", TEXT, re.MULTILINE):
        assert fields[name].default == float(default)
    assert fields["errors"].default == 100
    assert fields["level"].default == 0.95
