"""Small models of scikit-learn as ONNX. `python -m tests.models.trained` writes those that are in the tree.

The bytes depend on the versions of scikit-learn and skl2onnx, so the tests use the files of the tree where
they need no estimator.
"""

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import (
    BooleanTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "streamd/bench/models"
HERE = Path(__file__).parent
FIELDS = ["value", "vibration", "humidity", "pressure"]


@cache
def data(count: int = 400, seed: int = 1) -> tuple[Any, Any]:
    """Readings of a machine near 20 °C, and whether it is faulty."""
    chance = np.random.default_rng(seed)
    readings = chance.normal([20.0, 1.0, 45.0, 1013.0], [2.0, 0.3, 8.0, 6.0], (count, 4)).astype(np.float32)
    score = (readings[:, 0] - 20) / 2 + (readings[:, 1] - 1) / 0.3 + (readings[:, 2] - 45) / 16
    return readings, (score + chance.normal(0, 0.5, count) > 1).astype(np.int64)


@cache
def estimator(name: str) -> Any:
    """A trained estimator: logistic, boosting or mlp."""
    made: Any = {
        "logistic": LogisticRegression(max_iter=1000),
        "boosting": GradientBoostingClassifier(n_estimators=20, max_depth=3, random_state=1),
        "mlp": MLPClassifier((16,), random_state=1, max_iter=200),
    }[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a model that has not converged is good enough here
        return made.fit(*data())


def onnx_of(made: Any, sample: Any, **options: Any) -> bytes:
    """The model as bytes, without ZipMap unless asked."""
    content: bytes = to_onnx(made, sample, options={"zipmap": False} | options).SerializeToString()
    return content


def threshold(limit: float) -> Any:
    """A model of one number that says whether it is above the limit."""
    numbers = np.array([[limit - 1.0], [limit + 1.0]], np.float32)
    return LogisticRegression(C=1e6).fit(numbers, [0, 1])


def of_sites() -> tuple[Any, bytes]:
    """A model of one text: is it a roof?"""
    sites = [["roof"], ["roof"], ["yard"], ["hall"]]
    made = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(C=1e6))
    made.fit(sites, ["yes", "yes", "no", "no"])
    types = [("site", StringTensorType([None, 1]))]
    content = to_onnx(made, initial_types=types, options={"zipmap": False}).SerializeToString()
    return made, content


def of_kinds() -> tuple[Any, bytes]:
    """A model with an input for each column of a table: a float, an integer, a text and a boolean."""
    chance = np.random.default_rng(3)
    table = pd.DataFrame({
        "celsius": chance.normal(20, 3, 300).astype(np.float32),
        "starts": chance.integers(0, 9, 300),
        "site": chance.choice(["roof", "yard", "hall"], 300),
        "heated": chance.integers(0, 2, 300).astype(bool),
    })  # fmt: skip
    hot = table["celsius"] + table["starts"] + 5 * (table["site"] == "roof") + 3 * table["heated"] > 27
    columns = ColumnTransformer([
        ("numbers", StandardScaler(), ["celsius", "starts"]),
        ("sites", OneHotEncoder(handle_unknown="ignore"), ["site"]),
        ("flags", "passthrough", ["heated"]),
    ])  # fmt: skip
    made = make_pipeline(columns, LogisticRegression())
    made.fit(table, hot.map({True: "hot", False: "cold"}))
    types = [
        ("celsius", FloatTensorType([None, 1])),
        ("starts", Int64TensorType([None, 1])),
        ("site", StringTensorType([None, 1])),
        ("heated", BooleanTensorType([None, 1])),
    ]
    content = to_onnx(made, initial_types=types, options={"zipmap": False}).SerializeToString()
    return made, content


def main() -> None:
    """Write the files."""
    BENCH.mkdir(exist_ok=True)
    for name in ("logistic", "boosting", "mlp"):
        (BENCH / f"{name}.onnx").write_bytes(onnx_of(estimator(name), data()[0][:1]))
    one = np.zeros((1, 1), np.float32)
    (HERE / "above_3.onnx").write_bytes(onnx_of(threshold(3.0), one))
    (HERE / "above_5.onnx").write_bytes(onnx_of(threshold(5.0), one))
    (HERE / "text.onnx").write_bytes(of_sites()[1])
    (HERE / "zipmap.onnx").write_bytes(onnx_of(threshold(3.0), one, zipmap=True))


if __name__ == "__main__":
    main()
