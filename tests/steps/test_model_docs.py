"""The how-to guide of models does what it says."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from streamd import registry
from streamd.core.contracts import StepContext
from streamd.core.now import Now
from streamd.models.inputs import KINDS
from tests.models.trained import BENCH, FIELDS

TEXT = (Path(__file__).parents[2] / "docs/how-to/models.md").read_text()
(CONFIG,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


def test_the_example_is_valid_and_scores(tmp_path: Path) -> None:
    shutil.copy(BENCH / "boosting.onnx", tmp_path / "model.onnx")
    (tmp_path / "streamd.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "streamd", "check", "--config", str(tmp_path / "streamd.toml")]
    subprocess.run(command, capture_output=True, check=True)
    (options,) = tomllib.loads(CONFIG)["pipelines"]["readings"]["steps"]
    cls = registry.load("steps", options.pop("type"))
    step = cls(cls.Config.model_validate(options), StepContext("model[0]", "p", None, tmp_path))
    records = [dict.fromkeys(FIELDS, 50.0), dict.fromkeys(FIELDS, "x"), {}]
    made = step.process(records, Now(1e9, 0.0)).records
    assert [record["unscored"] for record in made] == [None, "invalid", "missing"]
    assert made[0]["fault"] in (0, 1)
    assert 0 <= made[0]["fault_score"] <= 1
    assert re.fullmatch("[0-9a-f]{12}", made[0]["model"])


def test_the_tables_name_every_reason_and_kind() -> None:
    counted = registry.load("steps", "model").counters["not_scored"]
    reasons = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)
    assert reasons == ["missing", "invalid", "failed", "over_budget"]
    assert all(reason in counted for reason in reasons)
    table = re.findall(r"^\| ([\w, ]+) \| (?:numbers|whole|true|texts)", TEXT, re.MULTILINE)
    assert table == ["float, double, float16", "integers", "bool", "string"]
    assert {kind for kind, _ in KINDS.values()} == {"number", "integer", "flag", "text"}


def test_every_option_and_counter_that_the_page_names_exists() -> None:
    cls = registry.load("steps", "model")
    for counter in re.findall(r"`streamd_step_(\w+)_total`", TEXT):
        assert counter in cls.counters
    for option in ("on_missing", "reason_field", "version_field", "check_every", "shadow", "shadow_tolerance",
                   "budget", "budget_pause", "executor", "concurrency"):  # fmt: skip
        assert f"`{option}" in TEXT
        assert option in cls.Config.model_fields
