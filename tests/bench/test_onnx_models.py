from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamd.bench import onnx_models
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, SkippedError
from streamd.cli import main
from streamd.core.errors import ConfigError
from streamd.steps.model import Model

PLAN = replace(Plan.quick(lambda _: None, Path()), step_turns=1)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_models, "SIZES", (1, 512))
    monkeypatch.setattr(onnx_models, "TURN_RECORDS", 10)


def test_each_model_is_measured_with_each_size_and_all_ways_give_the_same() -> None:
    run, dicts, columns = onnx_models.measure(PLAN)
    cases = run.details["cases"]
    assert [(case["model"], case["size"]) for case in cases] == [
        (name, size) for name in onnx_models.MODELS for size in (1, 512)
    ]
    judged = cases[1]
    assert all(case[key] > 0 for case in cases for key in ("dicts", "columns", "by_hand", "run", "alone"))
    assert (run.value, run.baseline) == (judged["run"], judged["alone"])
    assert (dicts.value, dicts.baseline) == (judged["dicts"], judged["by_hand"])
    assert (columns.value, columns.baseline) == (judged["columns"], judged["by_hand"])
    assert [run.name, dicts.name, columns.name] == ["model_run", "model", "model_columns"]
    assert run.reached is None
    assert onnx_models.measure(replace(PLAN, judge=True))[0].reached is not None


def test_other_results_are_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(self: Any, columns: Any, now: Any) -> Any:
        done = process(self, columns, now)
        done.records[0]["score"] += 0.001
        return done

    process = Model.process
    monkeypatch.setattr(Model, "process", other)
    with pytest.raises(BenchError, match="different results of logistic"):
        onnx_models.measure(PLAN)


def test_without_the_package_the_scenario_is_skipped_with_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: Any) -> Any:
        raise ConfigError("the step model needs the package onnxruntime", ("type",))

    monkeypatch.setattr(onnx_models, "Model", type("Model", (), {"Config": dict, "__new__": missing}))
    with pytest.raises(SkippedError):
        onnx_models.measure(PLAN)
    words = ["bench", "--quick", "--only", "model", "--json", str(tmp_path / "out"), "--dir", str(tmp_path)]
    assert main(words) == 0
    assert "model is skipped: the step model needs the package onnxruntime" in capsys.readouterr().err
