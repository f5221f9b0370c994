"""The how-to guide of unusual values does what it says."""

import json
import random
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from streamd import registry
from streamd.core.contracts import StepContext
from streamd.core.now import Now

TEXT = (Path(__file__).parents[2] / "docs/how-to/anomalies.md").read_text()
CONFIG, TOGETHER = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


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
    shown = {name: round(v, 1) if type(v) is float else v for name, v in done.records[-1].items()}
    assert shown == json.loads(*re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL))


def test_a_motor_with_much_current_at_a_low_speed_is_unusual() -> None:
    (options,) = tomllib.loads(TOGETHER)["steps"]
    cls = registry.load("steps", options.pop("type"))
    step = cls(cls.Config.model_validate(options), StepContext("anomaly[0]", "p", None, Path()))
    rng = random.Random(2)  # noqa: S311 - no secret
    records = []
    for _ in range(900):
        load = rng.random()
        records.append({"speed": 1000 + 500 * load, "current": 2 + 8 * load, "temperature": rng.gauss(40, 2)})
    records += [{"speed": 1010.0, "current": 9.9, "temperature": 40.0}] * 3
    done = step.process(records, Now(1e9, 0.0))
    assert [record["anomaly_score"] for record in done.records[:700]] == [None] * 700
    usual = sorted(record["anomaly_score"] for record in done.records[700:900])
    assert done.records[-3]["anomaly_score"] > usual[150]
    assert done.records[-1]["anomaly_low"] is None


def test_the_table_names_every_method() -> None:
    methods = registry.load("steps", "anomaly").Config.model_fields["method"].annotation.__args__
    table = TEXT[TEXT.index("## Which method") :]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(methods)
