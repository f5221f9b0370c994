from pathlib import Path

import pytest

from streamd.bench import processes
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError

PLAN = Plan.quick(lambda _: None, Path("/tmp"))  # noqa: S108 - a new folder is made there


def test_a_function_and_a_class_cross_to_their_processes_and_back() -> None:
    rows = processes.measure(PLAN)
    assert [row.name for row in rows] == ["process", "process_state", "process_keys"]
    for row in rows:
        assert row.value > 0 < (row.baseline or 0)
        assert row.details["processes_us"] >= 0
        assert "records/s" in row.note
        assert row.reached is None


def test_a_record_that_does_not_come_back_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FUNCTION", "def one(record): return []\n")
    with pytest.raises(BenchError, match="of 512 records, 0 came back"):
        processes.measure(PLAN)
