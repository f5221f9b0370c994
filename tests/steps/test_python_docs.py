import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from streamd.core.contracts import StepContext
from streamd.core.now import Now
from streamd.steps.python import Python

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "how-to/python-step.md").read_text()
REFERENCE = (DOCS / "reference/python-step.md").read_text()
FOUND: list[tuple[str, str]] = re.findall(r"```(toml|python)\n(.*?)```", TEXT, re.DOTALL)
BLOCKS = dict(reversed(FOUND))
CLASS = {kind: text for kind, text in FOUND if "Outliers" in text}


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Python]:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "steps.py").write_text(BLOCKS["python"])
    tables = tomllib.loads(BLOCKS["toml"])["steps"]
    made = []
    for table in tables:
        config = Python.Config.model_validate({k: v for k, v in table.items() if k != "type"})
        made.append(Python(config, StepContext("python[0]", "p", None, tmp_path)))
    return made


async def test_the_examples_do_what_is_said(steps: list[Python]) -> None:
    now = Now(1e9, 1.0)
    calibrate, score, locate = steps
    records: list[Any] = [{"sensor": "test"}, {"sensor": "a", "value": None}, {"sensor": "a", "value": 100}]
    done = calibrate.process(records, now)
    assert (done.records, done.filtered) == ([{"sensor": "a", "value": 102.5}], 1)
    assert [(bad.reason, bad.detail) for bad in done.rejects] == [("rejected", "no value")]
    assert score.process([{"value": 50}], now).records == [{"value": 50, "score": 0.5}]
    assert (await locate.process_async([{"n": 1}], now, lambda: False)).records == [{"n": 1, "site": "roof"}]


def test_the_examples_run_where_is_said(steps: list[Python]) -> None:
    assert [step.offload and (step.offload.executor, step.offload.timeout_s) for step in steps] == [
        None,
        ("process", 30.0),
        ("loop", 5.0),
    ]


@pytest.mark.parametrize("page", [TEXT, REFERENCE], ids=["how-to", "reference"])
def test_every_option_of_the_step_is_on_its_pages(page: str) -> None:
    assert [name for name in Python.Config.model_fields if name not in page] == []


def test_the_class_of_the_document_is_made_with_its_params(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(CLASS["python"])
    (table,) = tomllib.loads(CLASS["toml"])["steps"]
    config = Python.Config.model_validate({k: v for k, v in table.items() if k != "type"})
    step = Python(config, StepContext("python[0]", "p", None, tmp_path))
    assert step.offload is not None
    assert step.offload.executor == "process"
    step.open()
    done = step.process([{"value": -4.0}, {"value": 1}], Now(1e9, 1.0))
    assert [record["outlier"] for record in done.records] == [True, False]
