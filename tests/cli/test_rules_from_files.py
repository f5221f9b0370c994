"""`streamd test`, `try` and `check` use the table and the model of rules."""

import subprocess
import sys
from pathlib import Path

import pytest

from streamd.cli import main

CONFIG = """
[admin]
listen = "none"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["lab"]
steps = [{ type = "validate", rules = [
  { field = "sensor", check = "reference", path = "sensors.csv", on_error = "reject" },
  { check = "model", model = "models.py:Reading", on_error = "fix" },
] }]
sinks = ["out"]
[sinks.out]
type = "stdout"

[[tests]]
name = "rules"
inputs = [
  { source = "lab", text = '{"sensor":"a","value":"2.5"}' },
  { restart = true },
  { source = "lab", text = '{"sensor":"x","value":1}' },
  { source = "lab", text = '{"sensor":"a","value":"x"}' },
]
[tests.expect]
rejected = [{ reason = "rule:reference" }, { reason = "rule:model" }]
[tests.expect.sinks.out]
rows = [{ sensor = "a", value = 2.5, quality = { reading_model = "value converted from '2.5'" } }]
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "sensors.csv").write_text("sensor\na\n")
    (tmp_path / "models.py").write_text(
        "from pydantic import BaseModel\nclass Reading(BaseModel):\n    value: float\n"
    )
    path = tmp_path / "plant.toml"
    path.write_text(CONFIG)
    return str(path)


def test_a_test_of_the_configuration_and_a_trial_apply_both(config: str) -> None:
    assert main(["test", config]) == 0
    done = subprocess.run(
        [sys.executable, "-m", "streamd", "try", "--config", config],
        input='{"sensor":"a","value":"2.5"}\n{"sensor":"x","value":1}\n',
        capture_output=True,
        check=False,
        text=True,
        timeout=100,
    )
    assert done.returncode == 1
    stored = '{"sensor":"a","value":2.5,"quality":{"reading_model":"value converted from \'2.5\'"}}'
    assert stored in done.stdout
    assert "rule:reference: sensor_reference: sensor: 'x' is not in sensors.csv" in done.stdout
    assert "2 frames, 1 stored, 0 filtered, 1 rejected; the books balance" in done.stdout


def test_a_changed_table_or_model_is_seen_by_the_next_test(config: str, tmp_path: Path) -> None:
    (tmp_path / "sensors.csv").write_text("sensor\nx\n")
    assert main(["test", config]) == 1
    (tmp_path / "sensors.csv").write_text("sensor\na\n")
    assert main(["test", config]) == 0
    (tmp_path / "models.py").write_text(
        "from pydantic import BaseModel\nclass Reading(BaseModel):\n    value: str\n"
    )
    assert main(["test", config]) == 1
