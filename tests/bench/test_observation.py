"""The cost of being observed. `bench/observers.py` observes a real daemon here."""

from dataclasses import replace
from pathlib import Path

import pytest

from streamd.bench import observation
from streamd.bench.observation import ObservedRun
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError

ANSWERS = {"page": 8, "top": 8, "metrics": 8, "tap": 9}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(step=lambda _: None, parent=tmp_path, observed_records=2_000_000, observed_idle_s=0.5)


def runs(monkeypatch: pytest.MonkeyPatch, *cpu_s: float) -> None:
    """The CPU seconds of the runs in their order: without and with observers, in turn."""
    left = list(cpu_s)
    monkeypatch.setattr(
        observation,
        "run",
        lambda _, are_there: ObservedRun(left.pop(0), 1000.0, 7.0 if are_there else 2.0, ANSWERS),
    )


def test_a_run_is_compared_with_the_one_beside_it(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(monkeypatch, 4.0, 4.04, 8.0, 8.16, 6.0, 9.0)  # the machine slows down; one pair is an accident
    row, idle = observation.measure(plan)
    assert row.baseline == 3.0
    assert row.ratio == pytest.approx(1.02)
    assert row.reached is True
    assert (idle.value, idle.baseline) == (7.0, 2.0)


def test_more_than_three_percent_is_a_missed_goal(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(monkeypatch, 4.0, 4.2, 4.0, 4.2, 4.0, 4.0)
    assert observation.measure(plan)[0].reached is False
    runs(monkeypatch, 4.0, 4.2, 4.0, 4.2, 4.0, 4.0)
    assert observation.measure(replace(plan, judge=False))[0].reached is None


def test_each_observer_really_observes_a_real_daemon(plan: Plan) -> None:
    small = replace(plan, observed_records=2000)
    found = observation.run(small, are_there=True)
    assert set(found.answers) == set(ANSWERS)
    assert min(found.answers.values()) > 1
    assert found.cpu_s > 0
    assert found.idle_ms_per_s > 0


@pytest.mark.parametrize("silent", ANSWERS)
def test_a_run_in_which_an_observer_saw_too_little_is_no_measurement(silent: str) -> None:
    observation._check(ANSWERS, 10.0)
    with pytest.raises(BenchError, match=f"{silent} "):
        observation._check({**ANSWERS, silent: 1}, 10.0)
    with pytest.raises(BenchError, match=f"{silent} "):
        observation._check({name: n for name, n in ANSWERS.items() if name != silent}, 10.0)
