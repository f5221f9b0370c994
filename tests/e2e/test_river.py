"""Models that learn, in a daemon that is killed, restarted and given another version of its state."""

import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

MODELS = """
from river import linear_model, preprocessing
def build():
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()
"""
CONFIG = """\
[ledger]
interval = "200ms"
[sources.log]
type = "file"
path = "in.log"
codec = "json"
[pipelines.main]
sources = ["log"]
sinks = ["main"]
[[pipelines.main.steps]]
type = "river"
model = "models.py:build"
fields = ["a", "b"]
learn = "y"
key = ["id"]
probabilities = true
[[pipelines.main.steps]]
type = "anomaly"
method = "half_space_trees"
fields = ["a", "b"]
params = { n_trees = 4, height = 5 }
window = 50
min_samples = 100
quantile = 0.9
[sinks.main]
type = "sqlite"
path = "streamd.db"
table = "main"
unique = ["n"]
[sinks.main.columns]
n = "int"
prediction = "bool"
prediction_probabilities = "json"
anomaly = "bool"
anomaly_score = "float"
"""
COUNT = 700


def records() -> list[dict[str, Any]]:
    """Measurements, each with its label 30 records later."""
    rng = random.Random(5)  # noqa: S311 - no secret
    made: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for number in range(COUNT):
        a, b = rng.gauss(3, 2), rng.gauss(-1, 1)
        made.append({"id": number, "a": a, "b": b})
        labels.append({"id": number, "y": a + 2 * b > 1})
        if number >= 30:
            made.append(labels[number - 30])
    return [{"n": n, **record} for n, record in enumerate(made)]


def expected() -> list[Any]:
    """The predictions of river alone."""
    model = import_module("river.preprocessing").StandardScaler() | (
        import_module("river.linear_model").LogisticRegression()
    )
    waiting: dict[int, tuple[dict[str, float], Any]] = {}
    found = []
    for record in records():
        if "y" in record:
            x, predicted = waiting.pop(record["id"])
            model.learn_one(x, record["y"])
        else:
            x = {"a": record["a"], "b": record["b"]}
            predicted = model.predict_one(x)
            waiting[record["id"]] = x, predicted
        found.append(predicted)
    return found


def write(folder: Path, lines: list[dict[str, Any]]) -> None:
    with (folder / "in.log").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def rows(daemon: Any) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = daemon.query(
        "SELECT n, prediction, prediction_probabilities, anomaly, anomaly_score FROM main ORDER BY n"
    )
    return found


def test_killed_at_any_moment_the_predictions_are_those_of_river_alone(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], pace: Any
) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    given = records()
    written = 0
    for size in (200, 260):
        write(tmp_path, given[written : written + 100])
        daemon = start(CONFIG)
        for place in range(written + 100, written + size, 20):
            write(tmp_path, given[place : place + 20])
            pace(0.05)
        written += size
        daemon.wait_rows(2, "state", "state.db")
        daemon.process.kill()
        daemon.process.wait()
    daemon = start(CONFIG)
    write(tmp_path, given[written:])
    wait_until(lambda: len(rows(daemon)) == len(given), "the last row")
    daemon.stop()
    found = rows(daemon)
    assert [row[1] if row[1] is None else bool(row[1]) for row in found] == expected()
    assert len(daemon.events("state_restored")) == 2
    assert not daemon.events("state_set_aside")
    # the same scores as of one step that sees all records
    Config = import_module("streamd.steps.anomaly").Anomaly.Config  # noqa: N806
    contracts = import_module("streamd.core.contracts")
    options = {"method": "half_space_trees", "fields": ["a", "b"], "params": {"n_trees": 4, "height": 5}}
    step = import_module("streamd.steps.anomaly").Anomaly(
        Config.model_validate(options | {"window": 50, "min_samples": 100, "quantile": 0.9}),
        contracts.StepContext("anomaly[1]", "main", None, tmp_path),
    )
    alone = step.process(given, import_module("streamd.core.now").Now(1e9, 1.0)).records
    assert [row[4] for row in found] == [record["anomaly_score"] for record in alone]
    assert any(row[4] is not None for row in found)


def test_a_model_of_another_version_of_river_begins_anew_and_the_log_says_so(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    given = records()
    write(tmp_path, given[:300])
    daemon = start(CONFIG)
    wait_until(lambda: len(rows(daemon)) == 300, "the first rows")
    daemon.stop()
    (state_db,) = tmp_path.rglob("state.db")
    with closing(sqlite3.connect(state_db)) as database, database:
        ((row, state),) = database.execute("SELECT id, state FROM state WHERE type = 'river'").fetchall()
        parts = msgspec.msgpack.decode(state, type=list)
        parts[1] = "0.1.0"
        database.execute("UPDATE state SET state = ? WHERE id = ?", (msgspec.msgpack.encode(parts), row))
    write(tmp_path, given[300:320])
    daemon = start(CONFIG)
    wait_until(lambda: len(rows(daemon)) == 320, "the last rows")
    daemon.stop()
    (event,) = daemon.events("state_set_aside")
    assert "river 0.1.0 has stored the model" in event["why"]
    assert [row[1] for row in rows(daemon)][300:320].count(None) >= 10
