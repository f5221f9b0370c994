import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamd.bench import parquet_files
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError
from streamd.cli import main
from streamd.sinks.parquet import Parquet


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(parquet_files, "FILE_RECORDS", 1200)
    return replace(Plan.quick(lambda _: None, tmp_path), parquet_records=3000, step_turns=1)


def test_typed_records_and_dicts_are_measured_beside_pyarrow_alone(plan: Plan) -> None:
    typed, dicts = parquet_files.measure(plan)
    assert [typed.name, dicts.name] == ["parquet", "parquet_dicts"]
    assert min(typed.value, dicts.value, typed.baseline or 0.0) > 0
    assert typed.reached is None
    assert parquet_files.measure(replace(plan, judge=True))[0].reached is not None


def test_other_rows_are_no_measurement(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lose_one(self: Any, batches: Any) -> Any:
        return await write(self, batches[:-1])

    write = Parquet.write
    monkeypatch.setattr(Parquet, "write", lose_one)
    with pytest.raises(BenchError, match="different rows"):
        parquet_files.measure(plan)


def test_without_the_package_the_scenario_is_skipped_with_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    words = ["bench", "--quick", "--only", "parquet", "--json", str(tmp_path / "out"), "--dir", str(tmp_path)]
    assert main(words) == 0
    assert "parquet is skipped: the sink parquet needs the package pyarrow" in capsys.readouterr().err
