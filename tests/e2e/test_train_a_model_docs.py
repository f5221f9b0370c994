"""The how-to guide of training does what it says: from stored records to scores that equal scikit-learn's."""

import json
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TEXT = (Path(__file__).parents[2] / "docs/how-to/train-a-model.md").read_text()
STORING, STEPS, COLUMNS = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
(SCRIPT,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
HEAD = '[ledger]\ninterval = "100ms"\n[admin]\nlisten = "none"\n'
KNOWN, NEW = 800, 300


def ready(text: str) -> str:
    return HEAD + text.replace("127.0.0.1:9999", "127.0.0.1:0")


def scoring() -> str:
    """The configuration with the step and the columns that the page adds."""
    with_steps = STORING.replace("[pipelines.readings]\n", f"[pipelines.readings]\n{STEPS}")
    return re.sub(r"columns = .*\n", lambda _: COLUMNS, with_steps)


def records(count: int, seed: int) -> Iterator[dict[str, Any]]:
    chance = np.random.default_rng(seed)
    for number in range(count):
        temperature, vibration, humidity = chance.normal([60.0, 2.0, 45.0], [8.0, 0.6, 10.0])
        faulty = (temperature - 60) / 8 + (vibration - 2) / 0.6 + chance.normal(0, 0.4) > 1
        yield {
            "machine": f"m-{number % 7}",
            "temperature": temperature,
            "vibration": vibration,
            "humidity": humidity if number % 50 else None,
            "faulty": bool(faulty) if number % 20 else None,
        }


def lines(count: int, seed: int) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records(count, seed))


def test_stored_records_make_a_model_that_scores_new_ones_as_scikit_learn_does(
    start: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    daemon = start(ready(STORING))
    daemon.tcp(lines(KNOWN, seed=1), source="machines")
    daemon.wait_rows(KNOWN, "readings", "machines.db")

    (tmp_path / "train.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    trained = runpy.run_path("train.py")
    assert sorted(path.name for path in tmp_path.glob("model*")) == ["model.onnx"]
    said = capsys.readouterr().out
    found = re.search(
        r"learned (\d+) records; right on ([\d.]+)% of the next (\d+)\n.*right on ([\d.]+)%\)", said
    )
    assert found, said
    usable = sum(None not in record.values() for record in records(KNOWN, seed=1))
    assert int(found[1]) + int(found[3]) == usable
    assert float(found[2]) > float(found[4]) + 5

    daemon.config.write_text(ready(scoring()))
    status, _ = daemon.control("POST", "/reload")
    assert status == 200, daemon.stderr
    daemon.tcp(lines(NEW, seed=2), source="machines")
    daemon.wait_rows(KNOWN + NEW, "readings", "machines.db")
    daemon.stop()

    rows = daemon.query(
        "SELECT temperature, vibration, humidity, fault, fault_score, model FROM readings ORDER BY rowid",
        "machines.db",
    )
    assert {row[3:] for row in rows[:KNOWN]} == {(None, None, None)}
    scored = [row for row in rows[KNOWN:] if row[2] is not None]
    assert len(scored) == NEW - NEW // 50
    assert {row[3:] for row in rows[KNOWN:] if row[2] is None} == {(None, None, None)}
    inputs = np.array([row[:3] for row in scored], np.float32)
    assert [row[3] for row in scored] == trained["model"].predict(inputs).tolist()
    np.testing.assert_allclose(
        [row[4] for row in scored], trained["model"].predict_proba(inputs)[:, 1], atol=1e-5
    )
    assert len({row[5] for row in scored}) == 1
    assert daemon.books()["machines", "readings", "readings", "stored"] == KNOWN + NEW
