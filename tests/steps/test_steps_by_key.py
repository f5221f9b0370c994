"""What holds for every step that knows records by a key, whatever the records hold."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamd.core.contracts import Step
from streamd.core.now import Now

NewStep = Callable[..., Step[Any]]
STEPS: dict[str, dict[str, Any]] = {
    "dedupe": {"within": "5s", "max_keys": 4},
    "throttle": {"per": "5s", "max_keys": 4},
    "sample": {"rate": 0.5},
    "sequence": {"number": "n", "max_keys": 3, "gaps": True, "place": "p"},
    "expect": {"every": "5s", "max_keys": 3},
}
META = {"@source": "lab", "@peer": "10.0.0.7:5", "@received_at": "2026-01-31T08:00:00.000000Z"}
REASONS = {"key:missing", "key:type", "key:long", "sequence:type", "sequence:range"}
ODD = [
    10**5000,
    2**64,
    float("nan"),
    float("inf"),
    "\ud800",
    b"\xff",
    {1: 2},
    {None: 1},
    object(),
    "x" * 10**6,
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=3),
    lambda one: st.lists(one, max_size=2) | st.dictionaries(st.text(max_size=2), one, max_size=2),
    max_leaves=4,
) | st.sampled_from(ODD)
BATCHES = st.lists(
    st.lists(st.dictionaries(st.sampled_from(["a", "b", "n"]), VALUES), max_size=4), max_size=4
)


@pytest.mark.parametrize("key", [["a"], ["a", "b"], ["lower(a)"], ["a.x", "b"]], ids=str)
@pytest.mark.parametrize("name", STEPS)
def test_no_record_makes_it_raise_and_no_state_is_too_odd_to_be_stored(
    new_step: NewStep, assert_exact: Callable[..., None], name: str, key: list[str]
) -> None:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
    @given(batches=BATCHES)
    def holds(batches: list[list[dict[str, Any]]]) -> None:
        step = new_step(name, key=key, **STEPS[name])
        now = Now(1e9, 1.0)
        for batch in batches:
            done = step.process([record | META for record in batch], now)
            assert_exact(len(batch), done)
            reasons = {bad.reason for bad in done.rejects}
            assert all(reason in REASONS or reason.startswith("expr:") for reason in reasons)
            for record in done.records:
                assert META.items() <= record.items()
            now = Now(now.wall_s + 3, now.mono_s + 3)
            step.tick(now)
            if (state := step.snapshot()) is not None:
                step = new_step(name, key=key, **STEPS[name])
                step.restore(state, now)

    holds()
