import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from streamd.bench import retention
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError


def expired(monkeypatch: pytest.MonkeyPatch, with_bound: int, without: int = 0) -> None:
    p99_ms = [25.0, 60.0, 900.0, 70.0, 24.0, 50.0]  # without and with, in turn; one is an accident

    def run(_: Plan, max_bytes: int | None) -> retention.RetentionRun:
        p99_ms.append(p99_ms[0])
        return retention.RetentionRun(10.0, p99_ms.pop(0), 900.0, with_bound if max_bytes else without)

    monkeypatch.setattr(retention, "_run", run)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(step=lambda _: None, parent=tmp_path, retention_records=1000)


def test_the_bound_is_judged_by_what_it_adds_in_the_same_run(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired(monkeypatch, 900)
    (row,) = retention.measure(plan)
    assert (row.value, row.baseline, row.ratio, row.reached) == (60.0, 25.0, 2.4, True)
    assert "at least 900 rows deleted while 1,000 were stored" in row.note
    assert retention.measure(replace(plan, judge=False))[0].reached is None


@pytest.mark.parametrize(("with_bound", "without"), [(0, 0), (499, 0), (900, 1)])
def test_a_run_in_which_too_few_rows_went_is_no_measurement(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, with_bound: int, without: int
) -> None:
    expired(monkeypatch, with_bound, without)
    with pytest.raises(BenchError, match="rows were deleted while 1000 were stored"):
        retention.measure(plan)


def test_it_begins_when_the_file_is_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [1, 5, 9]
    monkeypatch.setattr(retention, "_expired", lambda _: counts.pop(0) if counts[1:] else counts[0])
    monkeypatch.setattr(retention, "_QUIET_S", 0.02)
    with sqlite3.connect(":memory:") as connection:
        assert retention._settled(connection) == 9
    connection.close()
