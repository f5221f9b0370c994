"""The how-to guide of models that learn does what it says."""

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

TEXT = (Path(__file__).parents[2] / "docs/how-to/river.md").read_text()
(CONFIG,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
(CODE,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def step(tmp_path: Path) -> Step[Any]:
    (tmp_path / "models.py").write_text(CODE)
    (options,) = tomllib.loads(CONFIG)["pipelines"]["parts"]["steps"]
    cls = registry.load("steps", options.pop("type"))
    made: Step[Any] = cls(cls.Config.model_validate(options), StepContext("river[0]", "p", None, tmp_path))
    made.open()
    return made


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    (tmp_path / "streamd.toml").write_text(CONFIG)
    (tmp_path / "models.py").write_text(CODE)
    command = [sys.executable, "-m", "streamd", "check", "--config", str(tmp_path / "streamd.toml")]
    subprocess.run(command, capture_output=True, check=True)


def test_the_model_learns_from_the_results_of_the_tests(step: Step[Any]) -> None:
    rng = random.Random(1)  # noqa: S311 - no secret
    tested = []
    for part in range(600):
        temperature, pressure = rng.gauss(210, 5), rng.gauss(6, 0.3)
        ok = temperature + 10 * pressure < 275
        given: list[dict[str, Any]] = [
            {"part": part, "temperature": temperature, "pressure": pressure},
            {"part": part, "ok": ok},
        ]
        predicted, result = step.process(given, Now(1e9 + part, float(part))).records
        assert result["prediction"] == predicted["prediction"]
        assert set(predicted["prediction_probabilities"]) == {"true", "false"}
        tested.append(result)
    right = [record["prediction"] == record["ok"] for record in tested]
    assert sum(right[-200:]) > 180
    found = step.context.counters.gauge_values()["progressive"]
    assert isinstance(found, dict)
    assert found["Accuracy"] == pytest.approx(sum(right) / 600)
    assert found["ROCAUC"] > 0.9


def test_every_counter_and_gauge_that_it_names_exists(step: Step[Any]) -> None:
    named = set(re.findall(r"streamd_step_(\w+?)(?:_total|\{)", TEXT))
    assert named == {"unlabelled", "unused_labels", "unpredicted", "model_failed", "progressive"}
    assert named <= {*step.counters, *step.gauges}
