"""State and clock of a class in worker processes, beside the same class inline."""

import random
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.core.contracts import Processed, StepContext
from streamd.core.now import Now
from streamd.core.record_key import RecordKey
from streamd.functions.keyed_state import KeyedState
from streamd.runtime.offload_partitions import lane_of, owner_of
from streamd.runtime.offload_state import LaneStates
from streamd.runtime.stage import Stage
from streamd.steps.python import Python

NOW = Now(1e9, 100.0)
COUNTS = """
import os
class Counts:
    def open(self, context):
        self.context = context
    def __call__(self, record):
        state = self.context.state[record["k"]]
        state["n"] = state.get("n", 0) + 1
        match record.get("do"):
            case "raise": raise ValueError
            case "die": os._exit(1)
            case "hang":
                while True: pass
            case "delete": del self.context.state[record["k"]]
            case "foreign": self.context.state["total"] = 1
        return {"k": record["k"], "n": state["n"], "pid": os.getpid()}
"""


@pytest.fixture
async def staged(tmp_path: Path) -> AsyncIterator[Callable[..., Stage]]:
    """A stage with the class Counts of this source, which is closed at the end."""
    made: list[Stage] = []

    def make(source: str = COUNTS, **options: Any) -> Stage:
        (tmp_path / "steps.py").write_text(textwrap.dedent(source))
        config = Python.Config.model_validate(
            {"function": "steps.py:Counts", "executor": "process"} | options
        )
        stage = Stage("python[0]", Python(config, StepContext("python[0]", "p", None, tmp_path)))
        stage.open()
        made.append(stage)
        return stage

    yield make
    for stage in made:
        await stage.close()


async def processed(stage: Stage, records: list[dict[str, Any]], now: Now = NOW) -> Processed:
    given = [dict(record) for record in records]
    if stage.offloaded is None:
        done = stage.process(given, None, now)
    else:
        done = await stage.process_waiting(given, None, now, lambda: None, stage.offloaded.enter())
    assert len(given) + done.emitted == len(done.records) + done.filtered + done.absorbed + len(done.rejects)
    return done


def counts(done: Processed) -> list[tuple[Any, int]]:
    return [(record["k"], record["n"]) for record in done.records]


PARTITIONED = {"concurrency": 3, "partition_by": ["k"]}


@pytest.mark.parametrize("options", [{}, PARTITIONED], ids=["one process", "by key"])
async def test_a_record_that_kills_its_process_leaves_the_state_as_it_was_before_it(
    staged: Callable[..., Stage], options: dict[str, Any]
) -> None:
    stage = staged(timeout="1s", **options)
    records = [{"k": f"k{n % 5}"} for n in range(20)]
    assert counts(await processed(stage, records)) == [(f"k{n % 5}", n // 5 + 1) for n in range(20)]
    deeds = {3: "die", 8: "raise", 9: "hang"}
    done = await processed(stage, [{"k": f"k{n % 5}", "do": deeds.get(n)} for n in range(15)])
    assert sorted(bad.reason for bad in done.rejects) == ["exception", "timeout", "worker_died"]
    expected = [(f"k{n % 5}", 5 + n // 5 - (n % 5 in (3, 4) and n > 9) - (n == 13)) for n in range(15)]
    assert counts(done) == [each for n, each in enumerate(expected) if n not in deeds]
    assert len({record["pid"] for record in done.records}) > 1
    assert counts(await processed(stage, [{"k": "k3"}, {"k": "k4"}])) == [("k3", 6), ("k4", 7)]


async def test_the_state_goes_from_any_executor_and_number_of_processes_to_any_other(
    staged: Callable[..., Stage],
) -> None:
    records = [{"k": f"k{n % 7}"} for n in range(21)] + [{"k": 5}, {"k": 5}]
    state: bytes | None = None
    ways: list[dict[str, Any]] = [
        {}, {"executor": "inline"}, {"concurrency": 2, "partition_by": ["k"]}, PARTITIONED,
        {"executor": "thread"}, {},
    ]  # fmt: skip
    for turn, options in enumerate(ways):
        stage = staged(**options)
        if state is not None:
            await stage.restore(state, NOW)
        done = await processed(stage, records)
        assert counts(done) == [
            *((f"k{n % 7}", turn * 3 + n // 7 + 1) for n in range(21)), (5, 2 * turn + 1), (5, 2 * turn + 2),
        ]  # fmt: skip
        state = await stage.snapshot()
        assert state is not None


@pytest.mark.parametrize("options", [{}, PARTITIONED], ids=["one process", "by key"])
async def test_keys_are_forgotten_and_deleted_as_inline(
    staged: Callable[..., Stage], options: dict[str, Any]
) -> None:
    bound = {"max_keys": 8, "forget_after": "50s"}
    inline, elsewhere = staged(executor="inline", **bound), staged(**bound, **options)
    rng = random.Random(11)  # noqa: S311 - a test's own dice
    mono_s = 100.0
    for _ in range(40):
        mono_s += rng.choice([0.1, 1, 30])
        records = [
            {
                "k": f"k{min(rng.randrange(14), rng.randrange(14))}",
                "do": "delete" if rng.random() < 0.1 else "",
            }
            for _ in range(1 if options else rng.randrange(1, 6))
        ]
        now = Now(1e9 + mono_s, mono_s)
        assert counts(await processed(inline, records, now)) == counts(
            await processed(elsewhere, records, now)
        )
    assert await inline.snapshot() == await elsewhere.snapshot()
    for stage in (inline, elsewhere):
        assert stage.step.context.counters["forgotten", ""] > 5


async def test_a_key_that_may_be_in_several_processes_is_refused(staged: Callable[..., Stage]) -> None:
    stage = staged(**PARTITIONED)
    done = await processed(stage, [{"k": f"k{n}", "do": "foreign"} for n in range(6)])
    (owner,) = {lane_of("total", 3)}
    refused = [n for n in range(6) if lane_of(f"k{n}", 3) != owner]
    assert [bad.record["k"] for bad in done.rejects] == [f"k{n}" for n in refused]
    assert {bad.reason for bad in done.rejects} == {"bad_state"}
    assert "with partition_by, a key of the state is the value of its field" in done.rejects[0].detail
    assert counts(await processed(stage, [{"k": f"k{n}"} for n in refused])) == [
        (f"k{n}", 1) for n in refused
    ]


def test_a_key_of_a_state_belongs_to_the_process_of_its_records() -> None:
    one, two = RecordKey(["k"], None), RecordKey(["k", "m"], None)
    for n in range(50):
        lane = lane_of(one.of({"k": n}), 5)
        assert (
            owner_of(n, one, 1, 5) == lane == owner_of((n, "more", 2), one, 1, 5) == owner_of((n,), one, 1, 5)
        )
        assert owner_of((n, "x", 7), two, 2, 5) == lane_of(two.of({"k": n, "m": "x"}), 5)
    for key in ((), None, (None, "k")):
        assert owner_of(key, one, 1, 5) is None
    assert owner_of("k", two, 2, 5) is None
    assert owner_of(("k",), two, 2, 5) is None


def test_a_process_is_told_what_was_forgotten_and_not_kept_again() -> None:
    kept = KeyedState(4, 1e9)
    context = StepContext("python[0]", "p", None, Path())
    states = LaneStates(kept, None, 2, context)
    for key in "abcde":
        states.put({key: b"\1"})
    states.put({"a": b"\2", ("t", 1): None})
    assert states.begin(0, NOW) == {"b": None}
    assert states.begin(0, NOW) == {}
    states.not_told(0, {"b": None})
    assert states.begin(0, NOW) == {"b": None}
    assert states.part_of(1) == {"c": b"\1", "d": b"\1", "e": b"\1", "a": b"\2"}
    assert states.begin(1, NOW) == {}, "a new process has none of them"
    assert context.counters["forgotten", ""] == 2


SUMS = """
import os
class Counts:
    due = None
    def open(self, context):
        self.state = context.state
        self.context = context
    def __call__(self, record):
        state = self.state[record["k"]]
        state["n"] = state.get("n", 0) + record["n"]
        state["do"] = record.get("do")
        self.due = self.context.now.mono_s + 10
        return []
    def next_deadline(self):
        return self.due if self.due is not None else (5.0 if len_of(self) else None)
    def tick(self, now):
        self.due = now.mono_s + 1e6
        made = []
        for key in list(self.state):
            state = self.state.pop(key)
            match state["do"]:
                case "raise": raise ValueError("in a tick")
                case "die": os._exit(1)
            made.append({"k": key, "n": state["n"]})
        return made
def len_of(its):
    return 1
"""


@pytest.mark.parametrize("options", [{}, PARTITIONED], ids=["one process", "by key"])
async def test_ticks_emit_what_the_state_holds_also_after_a_process_was_killed(
    staged: Callable[..., Stage], options: dict[str, Any]
) -> None:
    stage = staged(SUMS, **options)
    assert stage.step.is_timed
    done = await processed(stage, [{"k": f"k{n % 4}", "n": n} for n in range(12)])
    assert (done.records, done.absorbed, done.filtered) == ([], 12, 0)
    if options:  # a process without a key has not begun, and is due to learn its time
        await stage.tick(Now(1e9, 101.0))
    assert stage.next_deadline() == 110.0 or options
    assert (await stage.tick(Now(1e9, 109.0))).records == []
    done = await stage.tick(Now(1e9, 110.0))
    assert sorted((record["k"], record["n"]) for record in done.records) == [
        ("k0", 12), ("k1", 15), ("k2", 18), ("k3", 21),
    ]  # fmt: skip
    assert (await stage.tick(Now(1e9, 111.0))).records == []
    await processed(stage, [{"k": f"k{n}", "n": n} for n in range(4)])
    state = await stage.snapshot()
    assert state is not None
    after = staged(SUMS, **options)
    await after.restore(state, NOW)
    assert after.next_deadline() == 0.0
    done = await after.tick(NOW)
    assert sorted((record["k"], record["n"]) for record in done.records) == [
        ("k0", 0), ("k1", 1), ("k2", 2), ("k3", 3),
    ]  # fmt: skip


async def test_a_tick_that_raises_or_dies_is_a_failure_and_changes_nothing(
    staged: Callable[..., Stage],
) -> None:
    stage = staged(SUMS)
    await processed(stage, [{"k": "a", "n": 1, "do": "raise"}])
    done = await stage.tick(Now(1e9, 110.0))
    assert [bad.detail for bad in done.failures] == ["ValueError: in a tick (steps.py:22)"]
    assert done.records == []
    await processed(stage, [{"k": "a", "n": 1, "do": "die"}])
    done = await stage.tick(Now(1e9, 120.0))
    assert [(bad.reason, bad.detail) for bad in done.failures] == [("worker_died", "ended with exit code 1")]
    waits_s = stage.next_deadline() - 120.0  # type: ignore[operator]
    assert 1.0 <= waits_s <= 1.25
    done = await stage.tick(Now(1e9, 122.0))
    assert 2.0 <= stage.next_deadline() - 122.0 <= 2.5  # type: ignore[operator]
    await processed(stage, [{"k": "a", "n": 1}])
    done = await stage.tick(Now(1e9, 140.0))
    assert (done.records, list(done.failures)) == ([{"k": "a", "n": 3}], [])


@pytest.mark.parametrize("body", ["raise ValueError('no time')", "return 'soon'", "return float('nan')"])
async def test_a_deadline_that_is_none_is_a_failure_and_not_a_tick(
    staged: Callable[..., Stage], body: str
) -> None:
    stage = staged(f"""
        class Counts:
            used = False
            def open(self, context): pass
            def __call__(self, record):
                self.used = True
                return record
            def next_deadline(self):
                if self.used:
                    {body}
            def tick(self, now): raise SystemExit
    """)
    done = await processed(stage, [{"k": 1}])
    assert (done.records, len(done.failures)) == ([{"k": 1}], 1)
    assert stage.next_deadline() is None


async def test_a_regular_tick_comes_in_a_process_too(staged: Callable[..., Stage]) -> None:
    stage = staged(
        """
        class Counts:
            def open(self, context): self.context = context
            def __call__(self, record):
                self.context.state["n"] = self.context.state.get("n", 0) + 1
                return record
            def tick(self, now): return {"n": self.context.state.get("n", 0), "at": now.wall_s}
        """,
        tick_every="10s",
    )
    await processed(stage, [{}, {}], Now(1003.0, 3.0))
    assert stage.next_deadline() == 10.0
    done = await stage.tick(Now(1010.0, 10.0))
    assert done.records == [{"n": 2, "at": 1010.0}]
    assert stage.next_deadline() == 20.0
