"""A short trial: what is stored by many machines in trouble is what one machine stores without any."""

from pathlib import Path

import pytest

from tests.evaluation.scale.run import tables
from tests.evaluation.scale.trial import Trial
from tests.nats_server import needs_server
from tests.postgresql_server import needs_postgresql, shared_server

pytestmark = [needs_server, needs_postgresql, pytest.mark.timeout(600)]


def test_kills_and_a_hang_change_no_row(tmp_path: Path) -> None:
    server = shared_server()
    database = server.new_name()
    server.query(f"CREATE DATABASE {database}")
    with Trial(tmp_path, server, database, records=4000, takeover_s=1.5, hang_s=3.0) as trial:
        outcome = trial.run()
    assert outcome.is_exact, outcome
    assert len(outcome.events) == 4
    assert outcome.counts["unclean"] == 2, "an edge and a worker were killed"
    assert not {"rejected", "dropped", "late"} & set(outcome.counts)
    assert "| readings | 4,008 | 4,008 |" in tables(outcome)
