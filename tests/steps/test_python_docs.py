import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from streamd.core.contracts import StepContext
from streamd.core.now import Now
from streamd.steps.python import Python
from streamd.testing import run_step

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


PYTHON = [text for kind, text in FOUND if kind == "python"]


def test_the_tests_of_the_document_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (written,) = [text for text in PYTHON if "run_step" in text]
    steps = ModuleType("steps")
    source = "\n".join(text for text in PYTHON if re.search(r"class (Deviation|Counts)\b", text))
    exec(source, vars(steps))  # noqa: S102 - as an import does
    (tmp_path / "steps.py").write_text(source)
    monkeypatch.setitem(sys.modules, "steps", steps)
    monkeypatch.chdir(tmp_path)
    tests: dict[str, Any] = {}
    exec(written, tests)  # noqa: S102 - the same
    functions = [function for name, function in tests.items() if name.startswith("test_")]
    assert len(functions) == 2
    for function in functions:
        function()


def test_the_batches_of_the_document_are_calibrated_or_rejected() -> None:
    (source,) = [text for text in PYTHON if "class Calibrate" in text]
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - the same
    run = run_step(names["Calibrate"], [{"value": 100}, {"value": None}])
    assert run.records == [{"value": 102.0}]
    assert [(bad.record, bad.reason, bad.detail) for bad in run.rejects] == [
        ({"value": None}, "rejected", "no value")
    ]


def test_the_options_of_the_classes_of_the_document_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text("\n".join(PYTHON[:-2]).replace("from steps import Deviation", ""))
    tables = [
        table
        for kind, text in FOUND
        if kind == "toml" and "[pipelines" not in text
        for table in tomllib.loads(text)["steps"]
    ]
    assert {"Deviation", "Counts", "Outliers"} <= {table["function"].partition(":")[2] for table in tables}
    for table in tables:
        run_step(table, folder=tmp_path).close()
