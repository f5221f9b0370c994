from dataclasses import replace
from pathlib import Path

from streamd.bench import udp_cores
from streamd.bench.plan import Plan


def test_every_datagram_of_twenty_senders_has_its_fate_in_two_processes(tmp_path: Path) -> None:
    plan = replace(Plan.quick(lambda _: None, tmp_path), udp_rate=2_000)
    (row,) = udp_cores.measure(plan)
    assert row.value > 0
    assert row.reached is None
    one, several = row.details["one"], row.details["several"]
    assert (one["sent"], several["sent"]) == (2_000, 2_000)
    assert one["most"] == 1.0
    assert 0.5 <= several["most"] < 1.0, "never all of twenty in one but once in half a million"
