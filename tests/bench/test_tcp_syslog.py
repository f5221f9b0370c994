from pathlib import Path

from streamd.bench.plan import Plan
from streamd.bench.tcp_syslog import typed


def test_every_message_sent_is_stored_and_its_cpu_is_measured(tmp_path: Path) -> None:
    plan = Plan(step=lambda _: None, parent=tmp_path, judge=False, tcp_records=2000, tcp_repeats=1)
    (row,) = typed(plan)
    assert row.name == "tcp_syslog"
    assert row.value > 0
    assert row.baseline is not None
    assert row.baseline > 0
    assert row.reached is None
    assert not list(tmp_path.iterdir())
