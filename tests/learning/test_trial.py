"""Params with which a class of river cannot learn."""

from pathlib import Path
from typing import Any

import pytest

from streamd.core.errors import ConfigError
from streamd.learning.model import RiverModel
from streamd.learning.trial import check_params

TREES, LINEAR = "river.anomaly:HalfSpaceTrees", "river.linear_model:LinearRegression"


def check(reference: str, params: dict[str, Any], folder: Path, fields: tuple[str, ...] = ("a", "b")) -> None:
    maker = RiverModel(reference, folder, params)
    check_params(maker, fields, maker.kind_of(maker.make()))


@pytest.mark.parametrize(
    ("reference", "params", "place"),
    [
        (TREES, {"height": "x"}, ("params", "height")),
        (TREES, {"seed": 1, "n_trees": "x"}, ("params", "n_trees")),
        (TREES, {"height": "x", "n_trees": "x"}, ("params",)),
        (LINEAR, {"l2": "x"}, ("params", "l2")),
        (LINEAR, {"optimizer": "SGD"}, ("params", "optimizer")),
        ("river.linear_model:LogisticRegression", {"loss": "Log"}, ("params", "loss")),
        ("river.tree:HoeffdingTreeClassifier", {"grace_period": [1]}, ("params", "grace_period")),
    ],
)
def test_a_value_with_which_no_record_is_learned_is_named(
    tmp_path: Path, reference: str, params: dict[str, Any], place: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError, match="cannot learn with these params: ") as refused:
        check(reference, params, tmp_path)
    assert refused.value.keys == place


@pytest.mark.parametrize(
    ("reference", "params"),
    [
        (TREES, {"height": 3, "limits": {"a": [0, 9], "b": [0, 9]}}),
        (LINEAR, {"l2": 0.5}),
        (LINEAR, {}),
        ("river.tree:HoeffdingTreeClassifier", {"nominal_attributes": ["a"], "grace_period": 10}),
        ("river.forest:ARFRegressor", {"n_models": 2, "seed": 1}),
        ("river.naive_bayes:MultinomialNB", {"alpha": 0.5}),
    ],
)
def test_params_with_which_the_model_learns_are_accepted(
    tmp_path: Path, reference: str, params: dict[str, Any]
) -> None:
    check(reference, params, tmp_path)


def test_a_model_of_the_users_is_not_tried(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(
        "from river import base\n"
        "class Own(base.Regressor):\n"
        "    def __init__(self, texts=True):\n"
        "        self.texts = texts\n"
        "    def predict_one(self, x):\n"
        "        raise AssertionError('called')\n"
        "    learn_one = predict_one\n"
    )
    check("models.py:Own", {"texts": False}, tmp_path)
