from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamd.bench import postgresql, postgresql_server
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, SkippedError
from streamd.cli import main
from streamd.sinks.postgresql import Postgresql
from tests.postgresql_server import needs_postgresql


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A short measurement, in a folder that the server's user can reach."""
    monkeypatch.setattr(postgresql, "BATCHES", 2)
    monkeypatch.setattr(postgresql, "BATCH_RECORDS", 50)
    return replace(Plan.quick(lambda _: None, Path("/tmp")), step_turns=1)  # noqa: S108


@needs_postgresql
def test_the_sink_and_a_bare_copy_store_the_same_rows(plan: Plan) -> None:
    plain, keyed = postgresql.measure(replace(plan, judge=True))
    assert [plain.name, keyed.name] == ["postgresql", "postgresql_unique"]
    assert plain.value > 0
    assert plain.baseline is not None
    assert (plain.reached is None, keyed.reached) == (False, None)


@needs_postgresql
def test_missing_rows_are_no_measurement(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Postgresql.write

    async def half(self: Postgresql, batches: Any) -> Any:
        return await write(self, [batches[0].split(25)[0]])

    monkeypatch.setattr(Postgresql, "write", half)
    with pytest.raises(BenchError, match="rows of the sink"):
        postgresql.measure(plan)


def test_without_a_server_the_scenario_is_skipped_with_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], plan: Plan
) -> None:
    monkeypatch.setattr(postgresql_server, "binaries", lambda: None)
    with pytest.raises(SkippedError):
        postgresql.measure(plan)
    words = [
        "bench",
        "--quick",
        "--only",
        "postgresql",
        "--json",
        str(tmp_path / "out"),
        "--dir",
        str(tmp_path),
    ]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "postgresql is skipped: PostgreSQL is not installed (Debian: apt install postgresql)" in said
