import builtins
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from streamd.config import load
from streamd.core.batch import Batch
from streamd.core.columns import FlatColumns
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.now import Now
from tests.models.trained import BENCH, FIELDS, HERE, data, estimator, of_kinds

ABOVE_3, ABOVE_5 = str(HERE / "above_3.onnx"), str(HERE / "above_5.onnx")
OPTIONS: list[dict[str, Any]] = [
    {"file": ABOVE_3, "inputs": ["n"]},
    {
        "file": ABOVE_3,
        "inputs": {"X": "n"},
        "outputs": {"above": "label", "m": "probabilities[1]"},
        "on_missing": "reject",
        "reason_field": "why",
        "version_field": "version",
        "shadow": ABOVE_5,
    },
    {"file": ABOVE_3, "inputs": ["n"], "outputs": ["label"], "on_missing": "nan", "budget": "10s"},
]
NOW = Now(1_700_000_000.0, 50.0)


def flat(rows: list[tuple[Any, ...]], *fields: str) -> FlatColumns:
    values = [value for row in rows for value in row]
    return FlatColumns(Batch.of(values, "in", "p", "192.0.2.1:5", 1e9, fields=fields))


@pytest.mark.parametrize("name", ["logistic", "boosting", "mlp"])
def test_scores_equal_those_of_scikit_learn(name: str, new_step: Any) -> None:
    readings, _ = data(500, seed=7)
    outputs = {"fault": "label", "chances": "probabilities"}
    step = new_step("model", file=str(BENCH / f"{name}.onnx"), inputs=FIELDS, outputs=outputs)
    records = [dict(zip(FIELDS, row, strict=True)) for row in readings.tolist()]
    made = [
        record
        for start in range(0, 500, 64)
        for record in step.process(records[start : start + 64], NOW).records
    ]
    assert [record["fault"] for record in made] == estimator(name).predict(readings).tolist()
    np.testing.assert_allclose(
        [record["chances"] for record in made], estimator(name).predict_proba(readings), atol=1e-5
    )


def test_scores_equal_the_formula_in_numpy(new_step: Any) -> None:
    readings, _ = data(500, seed=8)
    made = estimator("logistic")
    step = new_step(
        "model",
        file=str(BENCH / "logistic.onnx"),
        inputs=FIELDS,
        outputs={"fault": "label", "score": "probabilities[1]"},
    )
    columns = flat([tuple(row) for row in readings.tolist()], *FIELDS)
    found = step.process_columns(columns, NOW).columns
    wanted = 1 / (1 + np.exp(-(readings.astype(float) @ made.coef_[0] + made.intercept_[0])))
    np.testing.assert_allclose(found.column("score"), wanted, atol=1e-5)
    assert found.column("fault") == (wanted > 0.5).astype(int).tolist()


def test_each_column_of_a_table_may_be_an_input(new_step: Any, tmp_path: Path) -> None:
    made, content = of_kinds()
    (tmp_path / "kinds.onnx").write_bytes(content)
    step = new_step("model", file="kinds.onnx", outputs=["label"], reason_field="why", on_missing="nan")
    chance = np.random.default_rng(4)
    records = [
        {"celsius": t, "starts": n, "site": site, "heated": heated}
        for t, n, site, heated in zip(
            chance.normal(20, 3, 60).astype(np.float32).tolist(),
            chance.integers(0, 9, 60).tolist(),
            chance.choice(["roof", "yard", "hall", "elsewhere"], 60).tolist(),
            chance.integers(0, 2, 60).astype(bool).tolist(),
            strict=True,
        )
    ]
    wanted = made.predict(pd.DataFrame(records)).tolist()
    assert set(wanted) == {"hot", "cold"}
    assert [record["label"] for record in step.process(records, NOW).records] == wanted
    good = records[0]
    for name, value in (("starts", 1.5), ("starts", None), ("site", 7), ("heated", "yes"), ("heated", 2)):
        (record,) = step.process([good | {name: value}], NOW).records
        assert (record["label"], record["why"]) == (None, "missing" if value is None else "invalid")
    assert "filled" not in step.context.counters.numbers()
    (record,) = step.process([good | {"starts": 2.0, "heated": 1, "celsius": None}], NOW).records
    assert record["why"] is None
    assert step.context.counters.numbers()["filled"] == 1


def test_a_record_without_a_usable_number_passes_with_null_and_is_counted(new_step: Any) -> None:
    step = new_step(
        "model", file=ABOVE_3, inputs=["n"], outputs=["label"], reason_field="why", version_field="model"
    )
    values: list[Any] = [1, None, "7", math.nan, math.inf, 10**400, 1e300, [], True, 4]
    done = step.process([{"n": value} for value in values] + [{}], NOW)
    digest = done.records[0]["model"]
    scored = (None, digest)
    assert [(r["label"], r["why"], r["model"]) for r in done.records] == [
        (0, *scored),
        (None, "missing", None),
        *[(None, "invalid", None)] * 6,
        (0, *scored),
        (1, *scored),
        (None, "missing", None),
    ]
    assert done.rejects == []
    assert step.context.counters.numbers()["not_scored"] == {"missing": 2, "invalid": 6}


def test_or_it_is_rejected_as_it_came(new_step: Any) -> None:
    step = new_step(
        "model", file=ABOVE_3, inputs=["n"], outputs=["label"], on_missing="reject", reason_field="why"
    )
    records: list[dict[str, Any]] = [{"n": 1}, {"n": "x" * 100}, {"n": 4}, {}]
    done = step.process(records, NOW)
    assert done.records == [{"n": 1, "label": 0, "why": None}, {"n": 4, "label": 1, "why": None}]
    assert [(bad.record, bad.reason, bad.detail) for bad in done.rejects] == [
        ({"n": "x" * 100}, "model:invalid", f"n: {'x' * 100!r:.64}"),
        ({}, "model:missing", "n: None"),
    ]
    assert "not_scored" not in step.context.counters.numbers()


def test_or_the_model_gets_nan(new_step: Any) -> None:
    options = {"inputs": FIELDS, "outputs": {"f": "label"}, "on_missing": "nan"}
    step = new_step("model", file=str(BENCH / "boosting.onnx"), **options)
    made = step.process([{}, {"value": "x", "vibration": 1.0}, dict.fromkeys(FIELDS, 1.0)], NOW).records
    assert [type(record["f"]) for record in made] == [int, int, int]
    assert step.context.counters.numbers()["filled"] == 2
    step = new_step(
        "model", file=str(BENCH / "logistic.onnx"), **options | {"outputs": {"p": "probabilities"}}
    )
    made = step.process([{}, dict.fromkeys(FIELDS, 1.0)], NOW).records
    assert made[0]["p"] == [None, None]
    assert None not in made[1]["p"]
    assert step.context.counters.numbers()["not_finite"] == 2


@pytest.mark.parametrize("options", OPTIONS)
def test_flat_records_get_the_same_as_dicts(new_step: Any, options: dict[str, Any]) -> None:
    values: list[Any] = [1, None, 2.9, 3.1, 1e300, 4, True, 6]
    step, other = new_step("model", **options), new_step("model", **options)
    columns = flat([(value, "a") for value in values], "n", "t")
    done = step.process_columns(columns, NOW)
    wanted = other.process(flat([(value, "a") for value in values], "n", "t").records(), NOW)
    assert done.records == []
    assert done.columns.records() == wanted.records
    assert done.rejects == wanted.rejects
    assert step.context.counters == other.context.counters
    assert step.process_columns(flat([], "n", "t"), NOW).count == 0


def test_no_record_and_one_record(new_step: Any) -> None:
    step = new_step("model", file=ABOVE_3, inputs=["n"], outputs={"p": "probabilities"})
    assert step.process([], NOW).records == []
    (record,) = step.process([{"n": 9}], NOW).records
    assert record["p"] == pytest.approx([0.0, 1.0], abs=1e-4)
    assert step.process([{}], NOW).records == [{"p": None}]


def test_all_results_can_be_written_as_json(new_step: Any) -> None:
    step = new_step("model", file=ABOVE_3, inputs=["n"], version_field="v", reason_field="w")
    made = step.process([{"n": 1}, {"n": None}, {"n": 5.5}], NOW).records
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_the_shadow_changes_no_record_and_is_counted(new_step: Any) -> None:
    options = {"file": ABOVE_3, "inputs": ["n"], "outputs": {"above": "label"}}
    records = [{"n": value} for value in (1, 4, None, 6)]
    alone = new_step("model", **options).process([dict(r) for r in records], NOW).records
    step = new_step("model", **options, shadow=ABOVE_5)
    assert step.process(records, NOW).records == alone
    numbers = step.context.counters.numbers()
    assert (numbers["shadow_agreed"], numbers["shadow_differed"]) == (2, 1)


def test_without_a_label_the_tolerance_decides(new_step: Any) -> None:
    options = {"file": ABOVE_3, "inputs": ["n"], "outputs": {"p": "probabilities[1]"}, "shadow": ABOVE_5}
    with pytest.raises(ConfigError, match="shadow_tolerance"):
        new_step("model", **options)
    for tolerance, agreed in ((0.1, 2), (1.0, 3)):
        step = new_step("model", **options, shadow_tolerance=tolerance)
        step.process([{"n": value} for value in (1, 4, 9)], NOW)
        assert step.context.counters["shadow_agreed", ""] == agreed


def test_it_names_its_fields(new_step: Any) -> None:
    options = {"file": ABOVE_3, "inputs": ["n"], "version_field": "v", "reason_field": "w"}
    step = new_step("model", frozenset({"n", "t"}), **options)
    assert step.fields_after() == {"n", "t", "label", "probabilities", "v", "w"}
    assert new_step("model", **options).fields_after() is None


@pytest.mark.parametrize(
    ("options", "keys", "words"),
    [
        ({"inputs": ["m"]}, ("inputs", 0), "no field 'm': did you mean 'n'|there are n, t"),
        ({"inputs": {"X": "nn"}}, ("inputs", "X"), "no field 'nn': did you mean 'n'"),
        ({"inputs": None}, ("inputs",), "no field 'X'"),
        ({"inputs": ["n", "t"]}, ("inputs",), "takes 1 value of"),
        ({"outputs": {"a": "lable"}}, ("outputs", "a"), "did you mean 'label'"),
        ({"outputs": {"n": "label"}}, ("outputs", "n"), "'n' is an input, which would be lost"),
        ({"version_field": "n"}, ("version_field",), "'n' is an input"),
        ({"version_field": "label"}, ("version_field",), "'label' is two of the new fields"),
        ({"version_field": "v", "reason_field": "v"}, ("version_field",), "'v' is two of the new fields"),
        ({"file": "none.onnx"}, ("file",), "none.onnx: No such file"),
        ({"file": str(HERE / "zipmap.onnx")}, ("outputs",), "without ZipMap: to_onnx"),
        ({"shadow": "none.onnx"}, ("shadow",), "none.onnx: No such file"),
        ({"shadow": str(BENCH / "mlp.onnx")}, ("shadow",), "mlp.onnx: the model's input 'X' takes 4 values"),
    ],
)
def test_what_does_not_suit_the_model_is_refused(
    options: dict[str, Any], keys: tuple[str | int, ...], words: str, new_step: Any
) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        new_step("model", frozenset({"n", "t"}), **{"file": ABOVE_3, "inputs": ["n"]} | options)
    assert error.value.keys == keys


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inputs": []}, "at least 1"),
        ({"inputs": {}}, "a model without inputs"),
        ({"inputs": ["n", "n"]}, "'n' occurs twice"),
        ({"inputs": ["n", 3]}, "Input should be a valid"),
        ({"inputs": 3}, "Input should be a valid"),
        ({"inputs": {"X": 3}}, "Input should be a valid"),
        ({"inputs": {"X": []}}, "at least 1"),
        ({"inputs": {"X": ["@peer"]}}, "metadata"),
        ({"inputs": ["@source"]}, "metadata"),
        ({"outputs": {}}, "a model without outputs"),
        ({"outputs": ["label", "label"]}, "occurs twice"),
        ({"outputs": {"@a": "label"}}, "begins with @"),
        ({"shadow_tolerance": 0.1}, "no effect without shadow"),
        ({"budget_pause": "1s"}, "no effect without budget"),
        ({"budget": "0s"}, "greater than 0"),
        ({"concurrency": 2}, 'set executor = "thread"'),
        ({"timeout": "5s"}, 'set executor = "thread"'),
        ({"file": ""}, "at least 1"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, Any], words: str, new_step: Any) -> None:
    with pytest.raises(ValidationError, match=words):
        new_step("model", **{"file": ABOVE_3, "inputs": ["n"]} | options)


def test_nan_is_only_for_floats(new_step: Any) -> None:
    with pytest.raises(ConfigError, match="no input of floats") as error:
        new_step("model", file=str(HERE / "text.onnx"), inputs=["site"], on_missing="nan")
    assert error.value.keys == ("on_missing",)


def test_without_the_package_the_extra_is_named(new_step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    importing = builtins.__import__

    def missing(name: str, *more: Any, **options: Any) -> Any:
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
        return importing(name, *more, **options)

    for name in [name for name in sys.modules if name.startswith("streamd.models.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("streamd.models.scoring", raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(
        ConfigError, match=r"needs the package onnxruntime: pip install 'streamd-daemon\[onnx\]'"
    ):
        new_step("model", file=ABOVE_3, inputs=["n"])


async def test_a_closed_step_loads_again_and_says_why_it_cannot(new_step: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    shutil.copy(ABOVE_3, path)
    step = new_step("model", file="model.onnx", inputs=["n"])
    await step.close()
    assert step.process([{"n": 4}], NOW).records[0]["label"] == 1
    await step.close()
    path.unlink()
    with pytest.raises(
        EnvironmentFault, match=r"^pipelines.readings: model\[0\]: .*model.onnx: No such file"
    ):
        step.open()


def test_a_thread_is_offered(new_step: Any) -> None:
    step = new_step("model", file=ABOVE_3, inputs=["n"], executor="thread", concurrency=2, timeout="3s")
    assert (step.offload.executor, step.offload.concurrency, step.offload.timeout_s) == ("thread", 2, 3.0)
    assert new_step("model", file=ABOVE_3, inputs=["n"], executor="thread").offload.timeout_s == 30.0
    assert new_step("model", file=ABOVE_3, inputs=["n"]).offload is None


@pytest.mark.parametrize("option", ["version_field", "reason_field"])
@pytest.mark.parametrize("name", ["n", "label"])
def test_a_field_that_is_there_already_is_refused_at_its_option(
    new_step: Any, option: str, name: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        new_step("model", file=ABOVE_3, inputs=["n"], outputs=["label"], **{option: name})
    assert refused.value.keys == (option,)


@pytest.mark.parametrize(
    "inputs", ['["n", 3]', "3", "{ X = 3 }", '{ X = ["n", []] }', "{}", "[]", '{ X = ["@peer"] }']
)
def test_a_wrong_option_has_its_line_in_the_file(inputs: str, tmp_path: Path) -> None:
    path = tmp_path / "streamd.toml"
    path.write_text(
        '[sources.a]\ntype = "udp"\nlisten = "127.0.0.1:0"\n[sinks.b]\ntype = "stdout"\n[pipelines.p]\n'
        'sources = ["a"]\nsinks = ["b"]\n'
        f'steps = [{{ type = "model", file = "{ABOVE_3}", inputs = {inputs} }}]\n'
    )
    with pytest.raises(ConfigError, match=r"streamd.toml:9: pipelines.p.steps\[0\]"):
        load(path)
