"""The steps that learn, in a daemon that is killed and reloaded."""

import json
import math
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamd import registry
from streamd.core.contracts import StepContext
from streamd.core.now import Now
from tests.e2e.kills import append, kill_thrice

BAND = ["anomaly", "anomaly_score", "anomaly_low", "anomaly_high"]
SCORE = ["forecast", "target", "horizon_s", "predicted", "low", "high", "actual", "inside_band"]
CHANGE = ["drift", "drift_at", "level_before", "level_after", "values_before", "values_after"]
LINEAR = {"type": "river", "model": "river.linear_model:LinearRegression", "fields": ["x"], "learn": "v"}
STEPS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "ewma": ({"type": "anomaly", "field": "v", "key": ["k"], "for": "1 of 3"}, BAND),
    "hampel": ({"type": "anomaly", "field": "v", "key": ["k"], "method": "hampel", "window": 9}, BAND),
    "quantile": ({"type": "anomaly", "field": "v", "method": "quantile", "window": 60}, BAND),
    "seasonal": (
        {"type": "anomaly", "field": "v", "method": "seasonal", "season": "1m", "buckets": 6, "time": "at"},
        BAND,
    ),
    "forecast": (
        {"type": "forecast", "field": "v", "key": ["k"], "every": "5s", "horizon": ["5s", "20s"],
         "time": "at"},
        SCORE,
    ),
    "adwin": ({"type": "drift", "value": "v", "key": ["k"], "time": "at"}, CHANGE),
    "cusum": ({"type": "drift", "value": "v", "key": ["k"], "method": "cusum", "time": "at"}, CHANGE),
    "page_hinkley": ({"type": "drift", "value": "v", "method": "page_hinkley", "time": "at"}, CHANGE),
    "linear": (LINEAR, ["prediction"]),
    "later": (LINEAR | {"learn": "late", "key": ["k"]}, ["prediction"]),
    "trees": (
        {"type": "river", "model": "river.anomaly:HalfSpaceTrees", "fields": ["x", "y"],
         "params": {"seed": 4}},
        ["score"],
    ),
}  # fmt: skip
LINES = 1500


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(k)} = {toml(v)}' for k, v in value.items())} }}"
    return json.dumps(value)


def config_of(before: str = "") -> str:
    """Every step in a pipeline of its own; `before` is a step that is put before it."""
    text = '[ledger]\ninterval = "200ms"\n[sources.log]\ntype = "file"\npath = "in.log"\ncodec = "json"\n'
    for name, (step, _) in STEPS.items():
        text += f'[pipelines.{name}]\nsources = ["log"]\nsteps = [{before}{toml(step)}]\nsinks = ["{name}"]\n'
        text += f'[sinks.{name}]\ntype = "sqlite"\npath = "{name}.db"\ntable = "{name}"\n'
    return text


def stream() -> list[dict[str, Any]]:
    """Two sensors with a daily wave of a minute, a new level in the middle, peaks and missing values."""
    rng = random.Random(3)  # noqa: S311 - no secret
    made: list[dict[str, Any]] = []
    for seq in range(LINES):
        at = 1_700_000_000 + seq // 2
        value = 20 + 3 * math.sin(at * math.tau / 60) + rng.gauss(0, 0.5) + 8 * (seq > LINES / 2)
        if rng.random() < 0.01:
            value += 30
        record = {"seq": seq, "k": "ab"[seq % 2], "at": at, "v": value, "x": value / 30, "y": rng.random()}
        if rng.random() < 0.02:
            record["v"] = None
        if seq % 4 > 1:
            record["late"] = value
        made.append(record)
    return made


def row(record: dict[str, Any], names: list[str]) -> str:
    return json.dumps([record.get(name) for name in ("seq", *names)])


def undisturbed() -> dict[str, list[str]]:
    """The rows that the steps make of all records at once."""
    tables: dict[str, list[str]] = {}
    for name, (options, names) in STEPS.items():
        cls = registry.load("steps", options["type"])
        config = cls.Config(**{key: value for key, value in options.items() if key != "type"})
        step = cls(config, StepContext(name, name, None, Path()))
        step.open()
        records = step.process(stream(), Now(1_700_002_000.0, 1.0)).records
        tables[name] = sorted({row(record, names) for record in records})
    return tables


def stored(daemon: Any) -> dict[str, list[str]]:
    """The rows of every table. A record that is read again after a kill makes an equal row."""
    found = {}
    for name, (_, names) in STEPS.items():
        rows = daemon.query(f"SELECT record FROM {name}", f"{name}.db")  # noqa: S608 - our names
        found[name] = sorted({row(json.loads(record), names) for (record,) in rows})
    return found


def test_kills_and_a_reload_change_no_score_no_prediction_and_no_model(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], pace: Any
) -> None:
    records, path = stream(), tmp_path / "in.log"
    written = kill_thrice(start, pace, config_of(), path, records, len(STEPS))
    daemon = start(config_of())
    append(path, records[written : written + 200])
    daemon.config.write_text(config_of('{ type = "filter", where = "seq >= 0" }, '))
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.events("reloaded"), "the reload")
    append(path, records[written + 200 :])
    expected = undisturbed()
    wait_until(lambda: len(stored(daemon)["ewma"]) == len(expected["ewma"]), "the last row")
    daemon.stop()
    assert stored(daemon) == expected
    assert len(daemon.events("state_restored")) == len(STEPS)
    assert not daemon.events("state_set_aside")
    assert all(len(rows) >= LINES for rows in expected.values())
    assert {name: len(rows) > LINES for name, rows in expected.items()} == {
        name: name in {"forecast", "adwin", "cusum", "page_hinkley"} for name in STEPS
    }
