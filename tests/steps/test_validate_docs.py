"""docs/how-to/quality.md does what it says."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamd.core.contracts import Step
from streamd.core.now import Now

PAGE = (Path(__file__).parents[2] / "docs/how-to/quality.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_makes_what_the_page_shows(new_step: Callable[..., Step[Any]], now: Now) -> None:
    (config,) = map(tomllib.loads, blocks("toml"))
    before, after = map(json.loads, blocks("json"))
    (options,) = config["pipelines"]["main"]["steps"]
    step = new_step(options.pop("type"), **options)
    done = step.process([before, {**before, "sensor": "A1"}], now)
    assert done.records == [after]
    assert [(bad.reason, bad.record["temp"]) for bad in done.rejects] == [("rule:pattern", "120.5")]
    failed = {key.rule for key, count in step.context.quality.take().items() if count.failed == 2}
    assert failed == {"temp_type", "temp_range", "unit_one_of", "site_not_null"}
