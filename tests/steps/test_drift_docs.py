"""The how-to guide of lasting changes does what it says."""

import json
import random
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from streamd import registry
from streamd.core.contracts import Step, StepContext
from streamd.core.now import Now
from streamd.core.timestamp import from_epoch

TEXT = (Path(__file__).parents[2] / "docs/how-to/drift.md").read_text()
CONFIG, *STEPS = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
BEGAN_S = 1_769_846_400.0


def steps_of(text: str) -> list[Step[Any]]:
    made: list[Step[Any]] = []
    for options in tomllib.loads(text)["steps"]:
        cls = registry.load("steps", options.pop("type"))
        made.append(cls(cls.Config.model_validate(options), StepContext("step[0]", "p", None, Path())))
    return made


def made_by(steps: list[Step[Any]], records: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """The records of changes, each with the number of the records before it."""
    for step in steps:
        records = step.process(records, Now(BEGAN_S, 0.0)).records
    return [(place, record) for place, record in enumerate(records) if "drift" in record]


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    (tmp_path / "streamd.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "streamd", "check", "--config", str(tmp_path / "streamd.toml")]
    subprocess.run(command, capture_output=True, check=True)


def test_the_example_makes_this_record() -> None:
    (options,) = re.findall(r"^steps = \[(.*)\]$", CONFIG, re.MULTILINE)
    rnd = random.Random(7)  # noqa: S311 - the same values in every run
    records = [
        {
            "sensor": "t-1",
            "value": rnd.gauss(20.0 if n < 2000 else 20.6, 0.4),
            "@received_at": from_epoch(BEGAN_S + n),
        }
        for n in range(2200)
    ]
    ((_, made),) = made_by(steps_of(f"steps = [{options}]"), records)
    shown = json.loads(*re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL))
    shortened = {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in made.items()
        if not name.startswith("@")
    }
    assert shortened == shown


def test_the_share_of_missing_values_is_followed() -> None:
    rnd = random.Random(2)  # noqa: S311
    records = [
        {"sensor": "t-1", "value": None if rnd.random() < (0.02 if n < 3000 else 0.15) else 20.0}
        for n in range(4000)
    ]
    ((place, made),) = made_by(steps_of(STEPS[0]), records)
    assert 3100 <= place <= 3200
    assert (made["level_before"], made["level_after"]) == pytest.approx((0.02, 0.15), abs=0.06)


def test_the_share_of_records_that_fail_a_rule_is_followed() -> None:
    rnd = random.Random(3)  # noqa: S311
    records = [
        {"sensor": "t-1", "value": 900.0 if rnd.random() < (0.01 if n < 3000 else 0.2) else 20.0}
        for n in range(4000)
    ]
    ((place, made),) = made_by(steps_of(STEPS[1]), records)
    assert 3000 < place <= 3200
    assert made["drift"] == "up"


def test_the_table_names_every_method() -> None:
    methods = registry.load("steps", "drift").Config.model_fields["method"].annotation.__args__
    tables = TEXT.split("How soon")
    assert [re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) for part in tables] == [list(methods)] * 2
