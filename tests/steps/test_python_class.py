"""The methods of a user's class, and how the step calls them."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.core.contracts import Processed, Step
from streamd.core.errors import ConfigError
from streamd.core.now import Now
from streamd.state.key import key_of

NewStep = Callable[..., Step[Any]]
Exact = Callable[[int, Processed], None]


@pytest.fixture
def step_of(new_step: NewStep, tmp_path: Path) -> Callable[..., Step[Any]]:
    """An opened step that calls the class `It` of this source text."""

    def make(source: str, **options: Any) -> Step[Any]:
        (tmp_path / "steps.py").write_text("import streamd\n" + textwrap.dedent(source))
        step = new_step("python", function="steps.py:It", **options)
        step.open()
        return step

    return make


COUNT = """
    class It:
        def open(self, context):
            self.context = context
        def __call__(self, record):
            seen = self.context.state[record["sensor"]]
            seen["n"] = record["n"] = seen.get("n", 0) + 1
            if record.get("fails"):
                raise ValueError("after the change")
            return record
"""


def test_a_state_counts_by_key_and_goes_on_after_a_restart(
    step_of: Callable[..., Step[Any]], now: Now
) -> None:
    step = step_of(COUNT)
    done = step.process([{"sensor": name} for name in "aba"], now)
    assert [record["n"] for record in done.records] == [1, 1, 2]
    state = step.snapshot()
    assert state is not None
    other = step_of(COUNT)
    other.restore(state, now)
    done = other.process([{"sensor": name} for name in "abc"], now)
    assert [record["n"] for record in done.records] == [3, 2, 1]


@pytest.mark.parametrize(
    ("options", "is_same"),
    [
        ({}, True),
        ({"max_keys": 7}, True),
        ({"forget_after": "1h"}, True),
        ({"executor": "thread", "timeout": "1s"}, True),
        ({"mode": "batch"}, False),
    ],
)
def test_a_state_outlives_a_change_of_what_does_not_change_its_meaning(
    step_of: Callable[..., Step[Any]], options: dict[str, Any], is_same: bool
) -> None:
    assert (key_of(step_of(COUNT)) == key_of(step_of(COUNT, **options))) is is_same


def test_a_call_that_fails_changes_nothing(
    step_of: Callable[..., Step[Any]], now: Now, assert_exact: Exact
) -> None:
    step = step_of(COUNT)
    done = step.process([{"sensor": "a"}, {"sensor": "a", "fails": True}, {"sensor": "a"}], now)
    assert [record["n"] for record in done.records] == [1, 2]
    assert [(bad.record, bad.reason) for bad in done.rejects] == [
        ({"sensor": "a", "fails": True}, "exception")
    ]
    assert_exact(3, done)


def test_process_gets_batches_and_rejects_single_records(
    step_of: Callable[..., Step[Any]], now: Now, assert_exact: Exact
) -> None:
    step = step_of("""
        class It:
            def process(self, records):
                made = []
                for record in records:
                    record["seen"] = True
                    made.append(record if record["n"] % 2 else streamd.Reject("even", record))
                return made
    """)
    records: list[Any] = [{"n": n} for n in range(4)]
    done = step.process(records, now)
    assert done.records == [{"n": 1, "seen": True}, {"n": 3, "seen": True}]
    assert [(bad.record, bad.reason, bad.detail) for bad in done.rejects] == [
        ({"n": 0}, "rejected", "even"),
        ({"n": 2}, "rejected", "even"),
    ]
    assert done.rejects[0].record is records[0]
    assert_exact(4, done)


def test_tick_every_ticks_at_multiples_of_its_time(step_of: Callable[..., Step[Any]]) -> None:
    step = step_of(
        """
        class It:
            def __call__(self, record):
                return record
            def tick(self, now):
                return {"at": now.wall_s}
        """,
        tick_every="10s",
    )
    assert step.tick(Now(1003.0, 50.0)).records == []
    assert step.next_deadline() == pytest.approx(57.0)
    assert step.tick(Now(1010.0, 57.0)).records == [{"at": 1010.0}]
    assert step.next_deadline() == pytest.approx(67.0)
    assert step.tick(Now(1035.5, 82.5)).records == [{"at": 1035.5}]  # late: once for several times
    assert step.next_deadline() == pytest.approx(87.0)


@pytest.mark.parametrize(
    ("body", "options", "why"),
    [
        ("def process(self, records): ...\n    def __call__(self, record): ...", {}, "rename one of them"),
        ("pass", {}, r"without __call__\(self, record\) or process"),
        ("def process(self): ...", {}, r"has a process that takes \(self\), but is called with one"),
        ("def process(self, records): yield 1", {}, "has a process that is a generator"),
        ("def process(self, records): ...", {"mode": "record"}, "a class with process"),
        ("def __call__(self, record): ...\n    def open(self): ...", {}, r"has an open that takes \(self\)"),
        ("def __call__(self, record): ...\n    async def open(self, c): ...", {}, "open must not be async"),
        ("def __call__(self, record): ...", {"tick_every": "1s"}, "only a class with tick"),
        ("def __call__(self, record): ...\n    def tick(self, now): ...", {}, "or tick_every"),
        ("def __call__(self, record): ...", {"max_keys": 5}, "has no effect: only a class with open"),
        ("def __call__(self, record): ...", {"forget_after": "5s"}, "has no effect: only a class with open"),
        (
            "def __call__(self, r): ...\n    def tick(self, now): ...\n    def next_deadline(self): ...",
            {"tick_every": "1s"},
            "next_deadline says when tick is called",
        ),
    ],
)
def test_what_is_wrong_with_a_class_is_said_before_it_runs(
    step_of: Callable[..., Step[Any]], body: str, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        step_of(f"class It:\n    {body}", **options)
