"""The cost of each step, and the loops of `bench/by_hand.py` and `bench/forecast_by_hand.py` beside them."""

import sys
from collections.abc import Iterator
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest

import streamd.steps
from streamd.bench import steps
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError
from streamd.bench.step_cases import CASES
from streamd.bench.steps import Readings, opened
from streamd.cli.bench import SCENARIOS
from streamd.core.batch import Record
from streamd.core.contracts import Processed

WARM_UP = 4
"""Batches after which each sensor has sent twice, and each has had a position."""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan.quick(lambda _: None, tmp_path)


def types() -> list[str]:
    return [module.name for module in iter_modules(streamd.steps.__path__)]


def test_every_step_has_a_scenario_and_a_row() -> None:
    assert not [name for name in types() if f"step_{name}" not in SCENARIOS and name not in SCENARIOS]


def outputs(type_name: str, folder: Path) -> Iterator[tuple[list[Record], list[Record]]]:
    """The records of the step and those of the hand-written loop, by batch."""
    case = CASES[type_name]
    first, second = Readings(case), Readings(case)
    loop = case.by_hand()
    with opened(type_name, case, folder) as step:
        for number in range(WARM_UP + 24):
            done = step.process(*first.next())
            records, now = second.next()
            by_hand = loop(records, now.mono_s)
            if number >= WARM_UP:
                yield done.records, by_hand


@pytest.mark.parametrize("type_name", CASES)
def test_a_hand_written_loop_does_the_work_of_its_step(type_name: str, tmp_path: Path) -> None:
    passed = 0
    for found, by_hand in outputs(type_name, tmp_path):
        assert found == by_hand
        passed += len(found)
    assert passed


@pytest.mark.parametrize("type_name", CASES)
def test_a_row_names_the_configuration_and_both_costs(type_name: str, plan: Plan) -> None:
    (row,) = steps.scenario(type_name)(plan)
    assert row.name == f"step_{type_name}"
    assert row.what == f"Step {type_name}: {CASES[type_name].what}"
    assert (row.value, row.baseline) == (min(row.details["us"]), min(row.details["by_hand_us"]))
    assert len(row.details["us"]) == plan.step_turns
    assert 0 < row.value < 1000
    assert row.baseline_what == f"by hand: {CASES[type_name].by_hand_what}"
    assert not list(plan.parent.iterdir())


def test_a_step_whose_package_is_absent_is_left_out_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    for name in ["river", *(name for name in sys.modules if name.startswith("river."))]:
        monkeypatch.setitem(sys.modules, name, None)
    assert steps.scenario("river")(Plan.quick(said.append, tmp_path)) == []
    assert said[-1] == (
        "step_river is left out: models that learn need the package river:"
        " pip install 'streamd-daemon[analytics]'"
    )


def test_a_step_that_loses_a_record_is_not_measured(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(_: Any, records: list[Record], __: Any) -> Processed:
        return Processed(records[1:])

    monkeypatch.setattr("streamd.steps.drop.Drop.process", lose)
    with pytest.raises(BenchError, match="step_drop: of 512 records and 0 new ones, 511 have a fate"):
        steps.scenario("drop")(plan)
