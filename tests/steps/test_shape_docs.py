"""The examples of the page about the shape of records do what it says."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from streamd import registry
from streamd.core.contracts import StepContext
from streamd.core.now import Now

TEXT = (Path(__file__).parents[2] / "docs/how-to/shape.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```\n\n```json\n(.*?)```\n\n```json\n(.*?)```", TEXT, re.DOTALL)
TABLE = re.findall(r"```csv\n(.*?)```", TEXT, re.DOTALL)
STEPS = ("parse", "parse_time", "convert", "flatten", "rename", "drop", "split", "merge", "lookup")


def test_every_step_of_the_page_has_an_example() -> None:
    assert {f'type = "{name}"' for name in STEPS} == set(re.findall(r'type = "\w+"', TEXT))
    assert len(EXAMPLES) == TEXT.count("```toml")


@pytest.mark.parametrize(("steps", "before", "after"), EXAMPLES)
def test_the_example_does_what_is_said(steps: str, before: str, after: str, tmp_path: Path) -> None:
    (tmp_path / "sites.csv").write_text(TABLE[0])
    records: list[dict[str, Any]] = [json.loads(line) for line in before.splitlines()]
    for table in tomllib.loads(steps)["steps"]:
        cls = registry.load("steps", table.pop("type"))
        step: Any = cls(cls.Config.model_validate(table), StepContext("step[0]", "main", None, tmp_path))
        step.open()
        done = step.process(records, Now(1_769_846_400.0, 1.0))
        assert done.rejects == []
        records = done.records
    assert records == [json.loads(line) for line in after.splitlines()]
