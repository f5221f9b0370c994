from dataclasses import replace
from pathlib import Path

import pytest

from streamd.bench import chain
from streamd.bench.daemon import Setup
from streamd.bench.plan import Plan


@pytest.mark.parametrize(("with_s", "reached"), [(1.7, True), (1.9, False)])
def test_the_steps_are_judged_by_the_plain_path_of_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_s: float, reached: bool
) -> None:
    turns: list[bool] = []

    def sent(_: Path, setup: Setup, __: int) -> tuple[None, float, float]:
        turns.append(bool(setup.steps))
        disturbed_s = 5.0 * (len(turns) <= 2)  # an accident in the first pair
        return None, (with_s if setup.steps else 1.0) + disturbed_s, 1e5

    monkeypatch.setattr(chain, "sent", sent)
    plan = Plan(step=lambda _: None, parent=tmp_path)
    (row,) = chain.measure(plan)
    assert turns == [False, True] * plan.tcp_repeats
    assert (row.value, row.baseline, row.reached) == (with_s, 1.0, reached)
    assert f"the cheapest runs took {with_s:.2f} and 1.00 CPU s/M" in row.note
    assert chain.measure(replace(plan, judge=False))[0].reached is None
