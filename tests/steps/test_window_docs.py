"""The page about windows does what it says."""

import json
import re
import tomllib
from pathlib import Path

from streamd.core.contracts import StepContext
from streamd.core.now import Now
from streamd.steps.window import Window
from streamd.windows.language import FUNCTIONS

TEXT = (Path(__file__).parents[2] / "docs/how-to/windows.md").read_text()


def test_the_example_makes_the_record_of_the_page() -> None:
    config, given, made = re.findall(r"```(?:toml|json)\n(.*?)```", TEXT, re.DOTALL)[:3]
    (table,) = tomllib.loads(config)["pipelines"]["minutes"]["steps"]
    step = Window(Window.Config(**{k: v for k, v in table.items() if k != "type"}),
                  StepContext("window[0]", "minutes", None, Path()))  # fmt: skip
    step.open()
    received = {"@received_at": "2026-01-31T08:01:06.000000Z"}
    records = [json.loads(line) | received for line in given.splitlines()]
    done = step.process(records, Now(1_769_846_466.0, 1.0))
    assert [record | {"@received_at": None} for record in done.records] == [
        json.loads(made) | {"@received_at": None}
    ]
    assert done.rejects == []


def test_the_page_names_every_function_and_option_of_windows() -> None:
    assert not [name for name in FUNCTIONS if f"`{name}" not in TEXT]
    named = set(re.findall(r"\w+", TEXT))
    assert not set(Window.Config.model_fields) - named
