import json
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from math import inf, nan
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamd.core.contracts import Processed, Step
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.now import Now
from streamd.runtime.stage import Stage
from streamd.state.key import key_of

anomaly: Any = import_module("river.anomaly")
datasets: Any = import_module("river.datasets")
evaluate: Any = import_module("river.evaluate")
linear_model: Any = import_module("river.linear_model")
metrics: Any = import_module("river.metrics")
preprocessing: Any = import_module("river.preprocessing")
tree: Any = import_module("river.tree")

NewStep = Callable[..., Step[Any]]
BAYES = "river.naive_bayes:GaussianNB"
OPTIONS: list[dict[str, Any]] = [
    {"model": BAYES, "fields": ["n"], "learn": "t"},
    {"model": BAYES, "fields": ["n"], "learn": "m", "key": ["t"], "wait": "2s", "max_waiting": 2},
    {"model": "river.anomaly:LODA", "params": {"seed": 1, "n_random_cuts": 2}, "fields": ["n"]},
]
REFUSALS: dict[str, Any] = {}
MODELS = """
import random
from river import anomaly, base, compose, linear_model, naive_bayes, preprocessing, tree
def logistic():
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()
def linear(l2=0.0, *, scaled=True):
    model = linear_model.LinearRegression(l2=l2)
    return preprocessing.StandardScaler() | model if scaled else model
def trees():
    return tree.HoeffdingTreeClassifier()
def filtered():
    return anomaly.QuantileFilter(anomaly.HalfSpaceTrees(seed=1), q=0.9)
class Own(base.Regressor):
    def __init__(self, odd=7.0):
        self.odd, self.last = odd, 0.0
    def predict_one(self, x):
        if x["n"] == self.odd:
            raise ValueError(f"odd {x['n']}")
        return self.last
    def learn_one(self, x, y):
        if y == self.odd:
            raise ZeroDivisionError("cannot learn")
        if y == -1:
            raise SystemExit(3)
        self.last = y
class Says(Own):
    def predict_one(self, x):
        import numpy
        return {1: float("nan"), 2: float("inf"), 3: numpy.float64(1.5), 4: numpy.int32(4), 5: object(),
                6: [1], 7: None, 8: 10**400, 9: numpy.nan}[x["n"]]
def fails():
    return 1 / 0
def number():
    return 3
def scaler():
    return preprocessing.StandardScaler()
def leaves():
    raise SystemExit(1)
def lambdas():
    return compose.FuncTransformer(lambda x: x) | linear_model.LinearRegression()
def a_class():
    return linear_model.LinearRegression
def labels():
    from river import multioutput, linear_model
    return multioutput.RegressorChain(linear_model.LinearRegression(), order=["a"])
def supervised():
    return anomaly.GaussianScorer()
value = 5
"""
PHISHING = [(x, y) for x, y in datasets.Phishing()]
FIELDS = list(PHISHING[0][0])


@pytest.fixture(autouse=True)
def users_models(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(MODELS)


@pytest.fixture
def river(new_step: NewStep) -> Callable[..., Step[Any]]:
    """Makes an opened step."""

    def make(model: str, known: frozenset[str] | None = None, **options: Any) -> Step[Any]:
        step = new_step("river", known, model=model, **options)
        step.open()
        return step

    return make


def values(done: Processed, name: str = "prediction") -> list[Any]:
    return [record[name] for record in done.records]


def counted(step: Step[Any]) -> dict[str, Any]:
    return step.context.counters.numbers()


def run(step: Step[Any], records: Sequence[dict[str, Any]], now: Now, size: int = 97) -> list[dict[str, Any]]:
    """The records that pass, taken in several batches."""
    passed: list[dict[str, Any]] = []
    for start in range(0, len(records), size):
        passed += step.process([record.copy() for record in records[start : start + size]], now).records
    return passed


def labelled(rows: Sequence[tuple[dict[str, Any], Any]]) -> list[dict[str, Any]]:
    return [{**x, "y": y} for x, y in rows]


def test_a_classifier_predicts_and_learns_as_river_alone_does(river: NewStep, now: Now) -> None:
    step = river("models.py:logistic", fields=FIELDS, learn="y", metrics=["Accuracy", "ROCAUC", "LogLoss"])
    passed = run(step, labelled(PHISHING), now)
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    expected = []
    for x, y in PHISHING:
        expected.append(model.predict_one(x))
        model.learn_one(x, y)
    assert [record["prediction"] for record in passed] == expected
    assert counted(step) == {"predicted": 1250, "learned": 1250}
    alone = metrics.Accuracy() + metrics.ROCAUC() + metrics.LogLoss()
    evaluate.progressive_val_score(
        PHISHING, preprocessing.StandardScaler() | linear_model.LogisticRegression(), alone
    )
    found = step.context.counters.gauge_values()["progressive"]
    assert found == dict(zip(("Accuracy", "ROCAUC", "LogLoss"), alone.get(), strict=True))
    assert 0.88 < found["Accuracy"] < 0.9


def test_a_regressor_predicts_and_learns_as_river_alone_does(river: NewStep, now: Now) -> None:
    rows = list(datasets.TrumpApproval())
    step = river("models.py:linear", fields=list(rows[0][0]), learn="y", name="expected")
    run(step, labelled(rows), now)
    alone = metrics.MAE() + metrics.RMSE()
    evaluate.progressive_val_score(
        rows, preprocessing.StandardScaler() | linear_model.LinearRegression(l2=0.0), alone
    )
    assert step.context.counters.gauge_values() == {
        "progressive": dict(zip(("MAE", "RMSE"), alone.get(), strict=True))
    }


def test_an_anomaly_detector_scores_and_then_learns(river: NewStep, now: Now) -> None:
    rows = [x for x, _ in PHISHING]
    params = {"seed": 3, "n_trees": 5, "height": 4, "window_size": 100}
    step = river("river.anomaly:HalfSpaceTrees", params=params, fields=FIELDS)
    passed = run(step, rows, now)
    model = anomaly.HalfSpaceTrees(**params)
    expected = []
    for x in rows:
        expected.append(model.score_one(x))
        model.learn_one(x)
    assert [record["score"] for record in passed] == expected
    assert len(set(expected)) > 100
    assert counted(step) == {"predicted": 1250, "learned": 1250}
    assert step.context.counters.gauge_values() == {}


def test_a_filter_of_anomalies_is_a_detector(river: NewStep, now: Now) -> None:
    step = river("models.py:filtered", fields=FIELDS)
    assert "score" in run(step, [x for x, _ in PHISHING[:50]], now)[-1]


def test_a_label_that_comes_later_teaches_the_same(river: NewStep, now: Now) -> None:
    together = river("models.py:logistic", fields=FIELDS, learn="y")
    later = river("models.py:logistic", fields=FIELDS, learn="y", key=["id"])
    expected = [record["prediction"] for record in run(together, labelled(PHISHING), now)]
    records = []
    for number, (x, y) in enumerate(PHISHING):
        records += [{**x, "id": number}, {"id": number, "y": y}]
    passed = run(later, records, now)
    assert [record["prediction"] for record in passed[::2]] == expected
    assert [record["prediction"] for record in passed[1::2]] == expected
    assert counted(later) == {"predicted": 1250, "learned": 1250}
    assert later.context.counters.gauge_values() == together.context.counters.gauge_values()
    assert len(later._waiting.kept) == 0  # type: ignore[attr-defined]


def test_labels_without_a_prediction_and_predictions_without_a_label_are_counted(
    river: NewStep, now: Now
) -> None:
    step = river("models.py:Own", fields=["n"], learn="y", key=["id"], wait="10s", max_waiting=4)

    def see(*records: dict[str, Any], after_s: float = 0.0) -> list[Any]:
        done = step.process([*records], Now(now.wall_s + after_s, now.mono_s + after_s))
        return values(done)

    assert see({"id": "a", "y": 1.0}) == [None]
    assert counted(step) == {"unused_labels": {"unknown": 1}}
    assert see({"id": "a", "n": 1}, {"id": "a", "n": 2}, {"id": "a", "y": 5.0}) == [0.0, 0.0, 0.0]
    assert counted(step) == {
        "unused_labels": {"unknown": 1}, "predicted": 2, "unlabelled": {"replaced": 1}, "learned": 1,
    }  # fmt: skip
    see({"id": "a", "y": 1.0})
    assert counted(step)["unused_labels"] == {"unknown": 2}
    see({"id": "b", "n": 1}, after_s=1)
    assert see({"id": "b", "y": 6.0}, after_s=11) == [5.0]
    see({"id": "c", "n": 1}, after_s=20)
    assert see({"id": "c", "y": 6.0}, after_s=30.5) == [None]
    assert counted(step)["unlabelled"] == {"replaced": 1, "wait": 1}
    see(*({"id": f"d{n}", "n": 1} for n in range(100)), after_s=40)
    assert len(step._waiting.kept) <= 4  # type: ignore[attr-defined]
    assert counted(step)["unlabelled"]["max_waiting"] >= 96
    see({"id": "d99", "y": 3.0}, after_s=40)
    see({"id": "e", "n": 1}, after_s=100)
    see(after_s=150)
    see(after_s=200)
    assert len(step._waiting.kept) == 0  # type: ignore[attr-defined]
    numbers = counted(step)
    assert numbers["predicted"] == numbers["learned"] + sum(numbers["unlabelled"].values())


@pytest.mark.parametrize("bad", [None, nan, inf, -inf, 10**400, 1e200, [1], {"a": 1}, b"x", "\ud800"])
def test_a_record_without_a_usable_field_passes_without_a_prediction(
    river: NewStep, now: Now, bad: Any
) -> None:
    step = river("models.py:logistic", fields=["a", "b"], learn="y", probabilities=True)
    (record,) = step.process([{"a": 1.0, "b": bad, "y": True}], now).records
    assert record["prediction"] is record["prediction_probabilities"] is None
    (record,) = step.process([{"a": 1.0, "y": True}], now).records
    assert record["prediction"] is None
    assert counted(step) == {"unpredicted": {"input": 2}, "unused_labels": {"input": 2}}
    assert step.snapshot() is None


def test_ints_bools_and_texts_are_features(river: NewStep, now: Now) -> None:
    step = river("models.py:trees", fields=["n", "b", "t"], learn="y")
    records = [{"n": n, "b": n % 2 == 0, "t": "even" if n % 2 == 0 else "odd", "y": n % 2} for n in range(50)]
    alone = tree.HoeffdingTreeClassifier()
    expected = []
    for record in records:
        x = {name: record[name] for name in ("n", "b", "t")}
        expected.append(alone.predict_one(x))
        alone.learn_one(x, record["y"])
    assert values(step.process([record.copy() for record in records], now)) == expected
    assert counted(step) == {"predicted": 49, "unpredicted": {"model": 1}, "learned": 50}


@pytest.mark.parametrize("label", [nan, inf, 10**400, "high", "\ud800", True, [1], {}])
def test_a_label_that_is_none_of_a_regressor_is_not_learned(river: NewStep, now: Now, label: Any) -> None:
    step = river("models.py:Own", fields=["n"], learn="y")
    (record,) = step.process([{"n": 1, "y": label}], now).records
    assert record == {"n": 1, "y": label, "prediction": 0.0} or label != label  # noqa: PLR0124 - NaN
    assert counted(step) == {"predicted": 1, "unused_labels": {"type": 1}}
    later = river("models.py:Own", fields=["n"], learn="y", key=["id"])
    done = later.process([{"id": 1, "n": 1}, {"id": 1, "y": label}, {"id": 1, "y": 4}], now)
    assert values(done) == [0.0, None, 0.0]
    assert counted(later) == {"predicted": 1, "unused_labels": {"type": 1}, "learned": 1}


@pytest.mark.parametrize("label", ["a", True, 1, 1.5])
def test_a_classifier_learns_texts_booleans_and_numbers(river: NewStep, now: Now, label: Any) -> None:
    step = river("river.naive_bayes:GaussianNB", fields=["n"], learn="y", probabilities=True)
    done = step.process([{"n": 1.0, "y": label}, {"n": 1.5}], now)
    assert values(done) == [None, label]
    text = {"a": "a", True: "true", 1.5: "1.5"}[label]
    assert done.records[1]["prediction_probabilities"] == {
        ("1" if label is not True and label == 1 else text): 1.0
    }
    json.dumps(done.records)


def test_what_a_model_says_becomes_a_plain_value_or_null(river: NewStep, now: Now) -> None:
    step = river("models.py:Says", fields=["n"], learn="y")
    found = values(step.process([{"n": n} for n in range(1, 10)], now))
    assert found == [None, None, 1.5, 4, None, None, None, None, None]
    assert [type(value) for value in found[2:4]] == [float, int]
    assert counted(step) == {"predicted": 2, "unpredicted": {"model": 7}}


def test_a_model_that_raises_rejects_the_record_or_passes_it_unlearned(river: NewStep, now: Now) -> None:
    step = river("models.py:Own", fields=["n"], learn="y")
    records: list[dict[str, Any]] = [
        {"n": 1, "y": 2.0},
        {"n": 7.0, "y": 3.0},
        {"n": 1, "y": 7.0},
        {"n": 1, "y": -1},
        {"n": 1, "y": 4},
    ]
    done = step.process([record.copy() for record in records], now)
    assert values(done) == [0.0, 2.0, 2.0, 2.0]
    (bad,) = done.rejects
    assert bad.record == records[1]
    assert (bad.reason, bad.detail) == ("exception", "ValueError: odd 7.0 (models.py:18)")
    assert bad.kind == "ValueError (models.py:18)"
    assert [failure.detail for failure in done.failures] == [
        "ZeroDivisionError: cannot learn (models.py:22)", "SystemExit: 3 (models.py:24)",
    ]  # fmt: skip
    assert counted(step) == {"predicted": 4, "learned": 2, "model_failed": {"predict": 1, "learn": 2}}
    assert step.process([{"n": 1}], now).failures == []


def test_a_record_without_its_key_is_rejected(river: NewStep, now: Now) -> None:
    step = river("models.py:Own", fields=["n"], learn="y", key=["id"])
    done = step.process([{"n": 1}, {"y": 1}, {"id": 1, "n": 1}], now)
    assert [bad.reason for bad in done.rejects] == ["key:missing", "key:missing"]
    assert len(done.records) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"model": "models.py:logistic", "fields": FIELDS, "learn": "y", "metrics": ["Accuracy", "ROCAUC"]},
        {"model": "models.py:logistic", "fields": FIELDS, "learn": "y", "key": ["id"], "probabilities": True},
        {
            "model": "river.forest:ARFClassifier",
            "params": {"n_models": 3, "seed": 2},
            "fields": FIELDS,
            "learn": "y",
        },
        {"model": "river.anomaly:HalfSpaceTrees", "params": {"seed": 2, "window_size": 50}, "fields": FIELDS},
    ],
)
def test_a_restart_in_the_middle_changes_no_prediction(
    new_step: NewStep, now: Now, options: dict[str, Any]
) -> None:
    records: list[dict[str, Any]] = []
    for number, (x, y) in enumerate(PHISHING[:300]):
        both = [{**x, "id": number}, {"id": number - 20, "y": y}]
        records += both if "key" in options else [{**x, "y": y}]
    whole, first, second = (new_step("river", **options) for _ in range(3))
    for step in (whole, first, second):
        step.open()
    expected = run(whole, records, now)
    before = run(first, records[: len(records) // 2], now)
    state = first.snapshot()
    assert state is not None
    again = Now(now.wall_s + 5.0, 77.0)
    second.restore(state, again)
    assert second.snapshot() == state
    assert before + run(second, records[len(records) // 2 :], again) == expected
    assert second.context.counters.gauge_values() == whole.context.counters.gauge_values()


def test_a_snapshot_between_a_prediction_and_its_label_is_not_that_behind_the_label(
    new_step: NewStep, now: Now
) -> None:
    options = {"model": "models.py:Own", "fields": ["n"], "learn": "y", "key": ["id"]}
    first, second = (new_step("river", **options) for _ in range(2))
    for step in (first, second):
        step.open()
    first.process([{"id": 1, "n": 1}], now)
    assert first.snapshot() is not None
    first.process([{"id": 1, "y": 5.0}], now)
    second.restore(first.snapshot() or b"", now)
    assert values(second.process([{"id": 2, "n": 1}], now)) == [5.0]


@pytest.mark.parametrize("odd", [2**63, 2**64, -(2**64), 10**100, True, "ä€", 1e150])
def test_what_waits_can_be_stored_whatever_the_record_has(new_step: NewStep, now: Now, odd: Any) -> None:
    options = {"model": "models.py:trees", "fields": ["n"], "learn": "y", "key": ["id"]}
    first, second = (new_step("river", **options) for _ in range(2))
    for step in (first, second):
        step.open()
    first.process([{"id": 1, "n": odd}, {"id": 1, "y": "ä"}, {"id": 2, "n": odd}], now)
    state = first.snapshot()
    assert state is not None
    second.restore(state, now)
    done = [step.process([{"id": 2, "y": "b"}, {"id": 3, "n": odd}], now).records for step in (first, second)]
    assert done[0] == done[1]
    assert counted(second) == {"learned": 1, "predicted": 1}


def test_predictions_that_wait_outlive_a_restart_and_age_meanwhile(new_step: NewStep, now: Now) -> None:
    options = {"model": "models.py:Own", "fields": ["n"], "learn": "y", "key": ["id"], "wait": "1h"}
    first = new_step("river", **options)
    first.open()
    first.process([{"id": 1, "n": 1}], now)
    first.process([{"id": 2, "n": 1}], Now(now.wall_s + 1800, now.mono_s + 1800))
    state = first.snapshot()
    assert state is not None
    second = new_step("river", **options)
    second.open()
    second.restore(state, Now(now.wall_s + 3700, 5.0))
    done = second.process([{"id": 1, "y": 2.0}, {"id": 2, "y": 3.0}], Now(now.wall_s + 3700, 5.0))
    assert values(done) == [None, 0.0]
    assert counted(second) == {"unused_labels": {"unknown": 1}, "unlabelled": {"wait": 1}, "learned": 1}


def changed(state: bytes, place: int, value: Any) -> bytes:
    parts = msgspec.msgpack.decode(state, type=list)
    parts[place] = value
    return msgspec.msgpack.encode(parts)


async def test_a_model_of_another_version_or_class_is_refused_and_the_step_begins_anew(
    river: NewStep, tmp_path: Path, now: Now
) -> None:
    options = {"model": "models.py:linear", "fields": ["n"], "learn": "y"}
    step = river(**options)
    run(step, [{"n": n, "y": 2.0 * n} for n in range(20)], now)
    state = step.snapshot()
    assert state is not None
    for place, value, why in (
        (1, "0.1.0", "river 0.1.0 has stored the model, and .* is installed"),
        (
            2,
            "river.x.Y",
            "the stored model is a river.x.Y, the model of the step is a river.compose.pipeline",
        ),
        (3, "0", "made with other parts or params"),
        (8, b"\x80\x05N.", "the stored model cannot be read|cannot unpack"),
    ):
        fresh = Stage("river[0]", river(**options))
        with pytest.raises((ValueError, TypeError), match=why):
            await fresh.restore(changed(state, place, value), now)
        assert fresh.process([{"n": 1.0, "y": 1.0}], None, now).records[0]["prediction"] == 0.0
        assert fresh.step.is_current()
    (tmp_path / "models.py").write_text(MODELS.replace("l2=0.0", "l2=0.5"))
    with pytest.raises(ValueError, match="made with other parts or params"):
        river(**options).restore(state, now)
    (tmp_path / "models.py").write_text(MODELS.replace("value = 5", "value = 6  # another comment"))
    same = river(**options)
    same.restore(state, now)
    assert same.process([{"n": 5.0}], now).records == step.process([{"n": 5.0}], now).records


def test_a_state_that_calls_a_function_is_refused(river: NewStep, now: Now, tmp_path: Path) -> None:
    step = river("models.py:linear", fields=["n"], learn="y")
    run(step, [{"n": 1, "y": 2.0}], now)
    state = step.snapshot()
    assert state is not None
    hostile = b"\x80\x05cos\nsystem\n(\x8c\x10touch /tmp/ri_xxxtR."
    with pytest.raises(ValueError, match="the stored model cannot be read"):
        river("models.py:linear", fields=["n"], learn="y").restore(changed(state, 8, hostile), now)
    assert not Path("/tmp/ri_xxx").exists()  # noqa: S108 - the name that the state has
    del tmp_path


def test_a_reload_with_changed_code_keeps_what_was_learned(river: NewStep, now: Now, tmp_path: Path) -> None:
    options = {"model": "models.py:Own", "fields": ["n"], "learn": "y"}
    step = river(**options)
    run(step, [{"n": 1, "y": 5.0}], now)
    assert step.is_current()
    (tmp_path / "models.py").write_text(MODELS.replace("return self.last", "return self.last + 100"))
    assert not step.is_current()
    state = step.snapshot()
    assert state is not None
    new = river(**options)
    new.restore(state, now)
    assert values(new.process([{"n": 1}], now)) == [105.0]


async def test_a_closed_step_begins_anew(river: NewStep, now: Now) -> None:
    step = river("models.py:Own", fields=["n"], learn="y")
    run(step, [{"n": 1, "y": 5.0}], now)
    await step.close()
    step.open()
    assert values(step.process([{"n": 1}], now)) == [0.0]
    assert step.snapshot() is not None


@pytest.mark.parametrize(
    ("options", "why", "keys"),
    [
        ({"model": "models.py:fails"}, r"makes no model: ZeroDivisionError.*models.py:", ("model",)),
        ({"model": "models.py:leaves"}, "makes no model: SystemExit: 1", ("model",)),
        ({"model": "models.py:number"}, "makes builtins.int; accepted is a classifier", ("model",)),
        ({"model": "models.py:scaler"}, "makes river.*StandardScaler; accepted is", ("model",)),
        ({"model": "models.py:labels"}, "makes .*RegressorChain; accepted is", ("model",)),
        ({"model": "models.py:supervised"}, "makes .*GaussianScorer; accepted is", ("model",)),
        ({"model": "models.py:a_class"}, "makes the class .*LinearRegression; accepted is", ("model",)),
        ({"model": "models.py:lambdas"}, "the model cannot be stored: .*lambda", ("model",)),
        ({"model": "models.py:value"}, "is not a function or class but int", ("model",)),
        ({"model": "models.py:linaer"}, "did you mean 'linear'", ("model",)),
        ({"model": "river.linear_model:LogisticRegresion"}, "did you mean 'LogisticRegression'", ("model",)),
        ({"model": "river.linear:X"}, "No module named 'river.linear'", ("model",)),
        ({"model": "river.linear_model:base"}, "is not a function or class but module", ("model",)),
        ({"params": {"optimiser": 1}}, "did you mean 'optimizer'", ("params", "optimiser")),
        ({"params": {"zzzz": 1}}, "it takes optimizer, loss", ("params", "zzzz")),
        ({"params": {"l2": "x"}}, "cannot learn with these params: TypeError", ("params", "l2")),
        ({"model": "river.linear_model:PARegressor", "params": {"mode": 3}}, "makes no model", ("model",)),
        ({"model": "river.compose:TargetTransformRegressor"}, "needs 'regressor', 'func'", ("params",)),
        ({"learn": None}, "a new regressor has learned nothing yet", ()),
        ({"model": "river.anomaly:LODA"}, "learns from every record without a label", ("learn",)),
        ({"model": "river.anomaly:LODA", "learn": None, "metrics": ["MAE"]}, "name their", ("metrics",)),
        ({"probabilities": True}, "only classifiers have probabilities", ("probabilities",)),
        ({"fields": ["n", "y"]}, "'y' is the label", ("fields",)),
        ({"metrics": ["Accurracy"]}, "river.metrics has no 'Accurracy' for a regressor", ("metrics", 0)),
        ({"metrics": ["MAE", "RMSEE"]}, "did you mean 'RMSE'", ("metrics", 1)),
        ({"name": "n"}, "'n' is also a field that this step adds", ("name",)),
        ({"name": "y"}, "'y' is also a field that this step adds", ("name",)),
    ],
)  # fmt: skip
def test_a_wrong_model_or_option_is_named(
    new_step: NewStep, options: dict[str, Any], why: str, keys: tuple[str | int, ...]
) -> None:
    given = {"model": "river.linear_model:LinearRegression", "fields": ["n"], "learn": "y"} | options
    with pytest.raises(ConfigError, match=why) as raised:
        new_step("river", **{name: value for name, value in given.items() if value is not None})
    assert raised.value.keys == keys


def test_unknown_fields_are_named(new_step: NewStep) -> None:
    options = {"model": "models.py:linear", "fields": ["n"], "learn": "y"}
    known = frozenset({"n", "y", "id"})
    assert new_step("river", known, **options).fields_after() == known | {"prediction"}
    for change in ({"fields": ["m"]}, {"learn": "label"}, {"key": ["idd"]}):
        with pytest.raises(ConfigError):
            new_step("river", known, **(options | change))
    assert new_step("river", None, **options).fields_after() is None


def test_without_river_the_problem_names_the_extra(
    new_step: NewStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ["river", *(name for name in sys.modules if name.startswith("river."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"pip install 'streamd-daemon\[analytics\]'"):
        new_step("river", model="river.linear_model:LinearRegression", fields=["n"], learn="y")


def test_a_model_whose_file_breaks_before_it_is_opened_again_is_a_fault(
    river: NewStep, tmp_path: Path
) -> None:
    (tmp_path / "models.py").write_text(
        "from river import linear_model\ncount = []\ndef build():\n    count.append(1)\n"
        "    assert len(count) < 2\n    return linear_model.LinearRegression()\n"
    )
    step = river("models.py:build", fields=["n"], learn="y")
    step._model = None  # type: ignore[attr-defined]  # as `close` does
    with pytest.raises(EnvironmentFault, match="makes no model: AssertionError"):
        step.open()


def test_probabilities_follow_river(river: NewStep, now: Now) -> None:
    step = river("models.py:logistic", fields=FIELDS, learn="y", probabilities=True, name="spam")
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for record, (x, y) in zip(run(step, labelled(PHISHING[:100]), now), PHISHING, strict=False):
        alone = model.predict_proba_one(x)
        assert record["spam_probabilities"] == {"true": alone[True], "false": alone[False]}
        model.learn_one(x, y)


def test_the_state_of_an_idle_model_is_pickled_once(river: NewStep, now: Now) -> None:
    step = river("models.py:Own", fields=["n"], learn="y")
    step.process([{"n": 1, "y": 5.0}], now)
    first = step.snapshot()
    pickled = step._pickled  # type: ignore[attr-defined]
    assert step.snapshot() == first
    assert step._pickled is pickled  # type: ignore[attr-defined]
    step.process([{"n": 1, "y": 6.0}], now)
    assert step.snapshot() != first


def test_options_beside_the_model_keep_what_was_learned(new_step: NewStep, now: Now) -> None:
    options: dict[str, Any] = {"model": "models.py:logistic", "fields": FIELDS, "learn": "y", "key": ["id"]}
    first = new_step("river", **options, metrics=["Accuracy", "F1"])
    first.open()
    for number, (x, y) in enumerate(PHISHING[:60]):
        first.process([{**x, "id": number}, {"id": number, "y": y}], now)
    first.process([{**PHISHING[60][0], "id": "open"}], now)
    changed = {"metrics": ["Recall", "Accuracy"], "name": "spam", "probabilities": True, "max_waiting": 50}
    second = new_step("river", **options, **changed, wait="2h")
    second.open()
    assert key_of(second) == key_of(first)
    second.context.counters.set_gauge("progressive", 0.5, "F1")
    second.restore(first.snapshot() or b"", now)
    accuracy = first.context.counters.gauge_values()["progressive"]["Accuracy"]  # type: ignore[index]
    assert second.context.counters.gauge_values()["progressive"] == {"Accuracy": accuracy, "Recall": 0.0}
    ask = {**PHISHING[61][0], "id": "new"}
    [known], [told] = (step.process([dict(ask)], now).records for step in (first, second))
    assert (told["spam"], set(told["spam_probabilities"])) == (known["prediction"], {"true", "false"})
    [late] = second.process([{"id": "open", "y": True}], now).records
    assert late["spam"] is not None
    third = new_step("river", **options, **changed)
    third.open()
    third.restore(second.snapshot() or b"", now)
    assert third.context.counters.gauge_values() == second.context.counters.gauge_values()


@pytest.mark.parametrize("other", [{"fields": ["m"]}, {"learn": "z"}, {"params": {"l2": 1.0}}])
def test_options_of_the_model_begin_anew(new_step: NewStep, other: dict[str, Any]) -> None:
    options: dict[str, Any] = {"model": "models.py:linear", "fields": ["n"], "learn": "y"}
    assert key_of(new_step("river", **options)) != key_of(new_step("river", **{**options, **other}))
