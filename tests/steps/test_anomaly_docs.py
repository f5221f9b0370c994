"""The how-to guide of unusual values does what it says."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from streamd import registry
from streamd.core.contracts import StepContext
from streamd.core.now import Now

TEXT = (Path(__file__).parents[2] / "docs/how-to/anomalies.md").read_text()
(CONFIG,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    (tmp_path / "streamd.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "streamd", "check", "--config", str(tmp_path / "streamd.toml")]
    subprocess.run(command, capture_output=True, check=True)


def test_three_high_values_of_five_raise_an_alarm() -> None:
    (options,) = tomllib.loads(CONFIG)["pipelines"]["readings"]["steps"]
    cls = registry.load("steps", options.pop("type"))
    step = cls(cls.Config.model_validate(options), StepContext("anomaly[0]", "p", None, Path()))
    values = [20.0, 20.4, 20.2] * 10 + [25.0, 20.1, 25.0, 20.1, 25.0]
    done = step.process([{"sensor": "t-1", "value": value} for value in values], Now(1e9, 0.0))
    assert [record["anomaly"] for record in done.records] == [None] * 30 + [False] * 4 + [True]
    assert done.records[-1]["anomaly_high"] < 25.0


def test_the_table_names_every_method() -> None:
    methods = registry.load("steps", "anomaly").Config.model_fields["method"].annotation.__args__
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE) == list(methods)
