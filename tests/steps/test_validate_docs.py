"""docs/how-to/quality.md does what it says."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamd.core.contracts import Step
from streamd.core.now import Now

NewStep = Callable[..., Step[Any]]
PAGE = (Path(__file__).parents[2] / "docs/how-to/quality.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_makes_what_the_page_shows(new_step: NewStep, now: Now) -> None:
    config = tomllib.loads(blocks("toml")[0])
    before, after = map(json.loads, blocks("json")[:2])
    (options,) = config["pipelines"]["main"]["steps"]
    step = new_step(options.pop("type"), **options)
    done = step.process([before, {**before, "sensor": "A1"}], now)
    assert done.records == [after]
    assert [(bad.reason, bad.record["temp"]) for bad in done.rejects] == [("rule:pattern", "120.5")]
    failed = {key.rule for key, count in step.context.quality.take().items() if count.failed == 2}
    assert failed == {"temp_type", "temp_range", "unit_one_of", "site_not_null"}


def test_the_table_of_the_page_decides_as_it_says(new_step: NewStep, now: Now, tmp_path: Path) -> None:
    (tmp_path / "sensors.csv").write_text(*blocks("csv"))
    step = new_step("validate", **tomllib.loads(blocks("toml")[1]))
    yard, known = {"sensor": "a-1", "where": "yard"}, {"sensor": "a-2", "where": None}
    done = step.process([{"sensor": "a-3"}, yard, known], now)
    assert done.records == [yard, known]
    assert [bad.reason for bad in done.rejects] == ["rule:reference"]
    counts = step.context.quality.take().items()
    assert {key.rule: count.failed for key, count in counts} == {"sensor_reference": 1, "place": 1}


def test_the_model_of_the_page_makes_what_it_shows(new_step: NewStep, now: Now, tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(*blocks("python"))
    step = new_step("validate", **tomllib.loads(blocks("toml")[2]))
    before, after, flagged = map(json.loads, blocks("json")[2:])
    done = step.process([before, {"temp": 900}], now)
    assert [list(record.items()) for record in done.records] == [list(after.items()), list(flagged.items())]
