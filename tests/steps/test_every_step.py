"""What holds for every step, those of other packages too."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamd import registry
from streamd.core.contracts import Processed, Step
from streamd.core.now import Now

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "filter": [{"where": "n > 1"}, {"where": "n + 1 == t"}],
    "python": [{"function": "steps.py:one"}, {"function": "steps.py:some", "mode": "batch"}],
    "set": [{"fields": {"m": "n * 2"}}],
    "tally": [{"size": 3}, {}],
}
"""Options for each type; none for a type that is not here."""
CASES = [(kind, more) for kind in [*registry.names("steps"), "tally"] for more in OPTIONS.get(kind, [{}])]
USERS_CODE = """
import streamd
def one(record):
    if record.get("n") == 1:
        return streamd.DROP
    if record.get("n") == 2:
        return [record, dict(record)]
    if record.get("n") == 3:
        raise streamd.Reject("three")
    return record
def some(records):
    return [record for record in records if record.get("n") != 1]
"""
NOW = Now(1_700_000_000.0, 1000.0)
AFTER_A_BOOT = Now(1_700_000_001.0, 7.0)
"""A second later, on a monotonic clock that has begun anew."""
VALUES = st.none() | st.integers(-3, 9) | st.floats(allow_nan=False) | st.text(max_size=3) | st.booleans()
RECORDS = st.lists(st.dictionaries(st.sampled_from(["n", "t", "m"]), VALUES), max_size=9)

pytestmark = pytest.mark.usefixtures("other_package")
each_case = pytest.mark.parametrize(("kind", "options"), CASES)
quick = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def users_code(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(USERS_CODE)


@each_case
def test_every_option_has_a_description(kind: str, options: dict[str, Any], new_step: Any) -> None:
    step = new_step(kind, **options)
    assert not [name for name, info in type(step.config).model_fields.items() if not info.description]
    again = type(step.config).model_validate(step.config.model_dump(exclude_unset=True, by_alias=True))
    assert again == step.config


@each_case
async def test_what_goes_in_comes_out_or_is_counted(
    kind: str, options: dict[str, Any], new_step: Any, assert_exact: Callable[[int, Processed], None]
) -> None:
    @quick
    @given(batches=st.lists(RECORDS, max_size=3))
    def holds(batches: list[list[dict[str, Any]]]) -> None:
        step: Step[Any] = new_step(kind, **options)
        step.open()
        for records in copy.deepcopy(batches):
            assert_exact(len(records), step.process(list(records), NOW))
            for reject in step.process(list(records), NOW).rejects:
                assert reject.reason

    holds()


@each_case
async def test_it_closes_twice_and_opens_again(kind: str, options: dict[str, Any], new_step: Any) -> None:
    step: Step[Any] = new_step(kind, **options)
    await step.close()
    step.open()
    step.process([{"n": 5}], NOW)
    await step.close()
    await step.close()
    step.open()
    assert step.process([{"n": 5}], NOW).rejects == []
    await step.close()


@each_case
def test_ticks_come_to_an_end(kind: str, options: dict[str, Any], new_step: Any) -> None:
    step: Step[Any] = new_step(kind, **options)
    step.open()
    step.process([{"n": 5}], NOW)
    now = NOW
    if not step.is_timed:
        return
    for _ in range(100):
        deadline = step.next_deadline()
        if deadline is None:
            break
        assert deadline >= now.mono_s
        now = Now(NOW.wall_s + deadline, deadline)
        made = step.tick(now)
        assert all(isinstance(record, dict) for record in made.records)
    assert step.next_deadline() is None
    assert step.tick(now).records == []


@each_case
def test_a_snapshot_brings_another_one_to_the_same_state(
    kind: str, options: dict[str, Any], new_step: Any
) -> None:
    step: Step[Any] = new_step(kind, **options)
    step.open()
    step.process([{"n": 5}, {"n": 2}], NOW)
    if not step.is_stateful:
        return
    state = step.snapshot()
    assert state is not None
    other: Step[Any] = new_step(kind, **options)
    other.open()
    other.restore(state, AFTER_A_BOOT)
    assert other.snapshot() == state
    due, due_again = step.next_deadline(), other.next_deadline()
    assert (due is None) == (due_again is None), "what it was to do at a time, it does after a restart too"
    if due is not None and due_again is not None:
        assert due_again - AFTER_A_BOOT.mono_s <= due - NOW.mono_s, "restore makes its deadline of `now`"
    again = other.process([{"n": 5}], AFTER_A_BOOT).records
    assert again == step.process([{"n": 5}], NOW).records
