import socket
from dataclasses import replace
from pathlib import Path

import pytest

from streamd.bench import attack, attackers
from streamd.bench.plan import Plan


@pytest.mark.parametrize(("p99_s", "reached"), [(0.5, True), (0.7, False)])
def test_latency_under_attack_is_judged_by_that_of_a_quiet_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, p99_s: float, reached: bool
) -> None:
    def run(_: Plan, count: int, idle: int) -> tuple[list[float], dict[str, int], int]:
        counts = {"rate_limited": 7000 * bool(idle), "closed": 20, "rejected": 0, "refused": 0}
        return [p99_s if idle else 0.2] * count, counts, 50 * 2**20

    monkeypatch.setattr(attack, "_run", run)
    plan = Plan(step=lambda _: None, parent=tmp_path, attack_records=100)
    (row,) = attack.measure(plan)
    assert (row.value, row.baseline, row.reached) == (p99_s * 1000, 200.0, reached)
    assert "limits dropped 7,000 datagrams and closed 20 connections" in row.note
    assert attack.measure(replace(plan, judge=False))[0].reached is None


def test_a_slow_sender_that_was_closed_comes_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        slow = attackers.connect(port, "127.0.0.3")
        accepted, (address, _) = server.accept()
        assert address == "127.0.0.3"
        assert attackers.trickle(slow, port) is slow
        assert accepted.recv(10) == b"a"
        accepted.close()
        before = slow
        for _ in range(100):
            slow = attackers.trickle(slow, port)
            if slow is not before:
                break
        again, _ = server.accept()
        assert slow is not before
        again.close()
        slow.close()
