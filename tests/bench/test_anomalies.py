from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamd.bench import anomalies
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError
from streamd.core.contracts import Processed
from streamd.steps.anomaly import Anomaly

PLAN = replace(Plan.quick(lambda _: None, Path()), anomaly_parts=1)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anomalies, "PART", 3)
    monkeypatch.setattr(anomalies, "KEYS", 20)


def test_each_method_has_a_cost_and_the_bytes_of_a_key() -> None:
    rows = anomalies.measure(PLAN)
    assert [row.name for row in rows] == [f"anomaly_{method}" for method in anomalies.METHODS]
    assert all(row.value > 0 and row.reached is None for row in rows)
    bytes_per_key = {row.name: row.details["bytes_per_key"] for row in rows}
    assert 150 < bytes_per_key["anomaly_ewma"] < bytes_per_key["anomaly_hampel"]
    assert 16 * 200 < bytes_per_key["anomaly_quantile"] < 16 * 200 + 1000


@pytest.mark.parametrize("done", [Processed([{}] * anomalies.BATCH), Processed([])])
def test_a_batch_that_becomes_dicts_is_no_measurement(monkeypatch: pytest.MonkeyPatch, done: Any) -> None:
    monkeypatch.setattr(Anomaly, "process_columns", lambda *_: done)
    with pytest.raises(BenchError):
        anomalies.measure(PLAN)
