"""The cost of being observed. `bench/observers.py` observes a real daemon here."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from streamd.bench import observation
from streamd.bench.child import Child
from streamd.bench.observation import MeasuredPart, Turns
from streamd.bench.plan import Plan
from streamd.bench.prepared_sender import prepare
from streamd.bench.row import BenchError

ANSWERS = {"page": 8, "top": 8, "metrics": 8, "tap": 9}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        step=lambda _: None, parent=tmp_path, observed_records=2000, observed_turns=3, observed_idle_s=0.5
    )


def turns(monkeypatch: pytest.MonkeyPatch, *of_daemons: tuple[float, float, float, float]) -> list[bool]:
    """The CPU seconds of each daemon's parts: two alone, two observed. Returns which begin observed."""
    left = list(of_daemons)
    began = []

    def run(_: Plan, lines: Path, *, observed_first: bool) -> Turns:
        assert len(lines.read_bytes().splitlines()) == 2000
        began.append(observed_first)
        parts = [MeasuredPart(s, s, s, is_observed=n > 1) for n, s in enumerate(left.pop(0))]
        return Turns(parts, 2.0, 7.0)

    monkeypatch.setattr(observation, "run", run)
    return began


def test_the_parts_of_a_daemon_are_compared_with_each_other(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The machine slows down from daemon to daemon, and one of them is an accident.
    began = turns(monkeypatch, (3.0, 5.0, 4.0, 4.16), (7.0, 9.0, 8.0, 8.32), (6.0, 6.0, 9.0, 9.0))
    row, idle = observation.measure(plan)
    assert began == [False, True, False]
    assert row.baseline == pytest.approx(12 / 4000 * 1e6)
    assert row.ratio == pytest.approx(1.02)
    assert row.reached is True
    assert "the median of their ratios is 1.020;" in row.note
    assert "333 alone" in row.note
    assert (idle.value, idle.baseline) == (7.0, 2.0)
    assert json.loads(json.dumps(row.details))["turns"][0]["parts"][3]["cpu_s"] == 4.16


def test_enough_daemons_show_how_sure_the_median_is(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    turns(monkeypatch, *((1.0, 1.0, 1.0, 1.0 + n / 50) for n in range(6)))
    row, _ = observation.measure(replace(plan, observed_turns=6))
    assert "ratios is 1.025 (95% sure: 1.000 to 1.050);" in row.note


def test_more_than_three_percent_is_a_missed_goal(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    turns(monkeypatch, *[(2.0, 2.0, 2.07, 2.06)] * 6)
    assert observation.measure(plan)[0].reached is False
    assert observation.measure(replace(plan, judge=False))[0].reached is None


def test_each_observer_really_observes_a_real_daemon(plan: Plan, tmp_path: Path) -> None:
    plan = replace(plan, judge=False)  # a machine that stands still is no failure here
    lines = tmp_path / "lines"
    prepare(lines, plan.observed_records)
    found = observation.run(plan, lines, observed_first=True)
    assert [part.is_observed for part in found.parts] == [True, False, False, True]
    for part in found.parts:
        assert 0 < part.loop_cpu_s < part.cpu_s
    assert found.alone_idle_ms_per_s > 0
    assert found.observed_idle_ms_per_s > 0


@pytest.mark.parametrize("silent", ["page", "top", "metrics"])
def test_a_run_in_which_an_observer_saw_too_little_is_no_measurement(silent: str) -> None:
    observation._check(ANSWERS, 10.0)
    with pytest.raises(BenchError, match=f"{silent} "):
        observation._check({**ANSWERS, silent: 6}, 10.0)
    with pytest.raises(BenchError, match=f"{silent} "):
        observation._check({name: n for name, n in ANSWERS.items() if name != silent}, 0.0)


def test_a_tap_that_shows_no_record_is_no_measurement(tmp_path: Path) -> None:
    with Child(tmp_path, "this") as child:
        child.wait(30.0)
        with pytest.raises(BenchError, match="did not say tapped"):
            observation._wait_for("tapped", child)
