"""What a call that fails leaves in `context.state`: nothing. Inline, in a thread and awaited."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamd.core.contracts import Processed, StepContext
from streamd.core.now import Now
from streamd.runtime.stage import Stage
from streamd.steps.python import Python
from streamd.testing import StepRun, run_step

NOW = Now(1e9, 100.0)
Place = Callable[..., Stage]

CODE = """
import asyncio, threading, time
import streamd

go_on = threading.Event()

class It:
    def open(self, context):
        self.context = context

    def one(self, record):
        state = self.context.state
        seen = state[record["key"]]
        seen["n"] = record["n"] = seen.get("n", 0) + 1
        seen.setdefault("last", []).append(record["seq"])
        state["all"] = state.get("all", 0) + 1
        match record.get("does"):
            case "raise": raise ValueError("after the change")
            case "reject": raise streamd.Reject("after the change")
            case "exit": raise SystemExit(3)
            case "cancel": raise asyncio.CancelledError
            case "delete":
                del state[record["key"]]
                state.clear()
                raise KeyError("after that")
            case "nothing": return None
            case "number": return 5
            case "object": return record | {"it": object()}
            case "object in the record": record["it"] = object()
            case "object in a list": return [record, {"it": object()}]
            case "bad key": return {5: 1}
            case "bad state": seen["it"] = object()
            case "long state": state["long"] = "x" * 70_000
            case "bad key of the state": state[object()] = 1
            case "hang": record["hang"] = True
        return record

    def wait(self):
        go_on.wait()
"""
FAULTS = {
    "raise": "exception",
    "reject": "rejected",
    "exit": "exception",
    "cancel": "exception",
    "delete": "exception",
    "nothing": "no_result",
    "number": "bad_result",
    "object": "bad_result",
    "object in the record": "bad_result",
    "object in a list": "bad_result",
    "bad key": "bad_result",
    "bad state": "bad_state",
    "long state": "bad_state",
    "bad key of the state": "bad_state",
}
CALLS = {
    "inline": "def __call__(self, record):\n    return self.one(record)\n",
    "thread": "def __call__(self, record):\n"
    "    made = self.one(record)\n"
    "    if type(made) is dict and made.pop('hang', False): self.wait()\n"
    "    return made\n",
    "awaited": "async def __call__(self, record):\n"
    "    made = self.one(record)\n"
    "    await asyncio.sleep(0)\n"
    "    if type(made) is dict and made.pop('hang', False): await asyncio.Event().wait()\n"
    "    return made\n",
}


@pytest.fixture
async def place(tmp_path: Path) -> Any:
    """An opened stage of the class `It`, called in one of three ways."""
    stages = []

    def make(way: str, **options: Any) -> Stage:
        code = CODE + textwrap.indent("\n" + CALLS[way], "    ")
        (tmp_path / "steps.py").write_text(code)
        if way == "thread":
            options["executor"] = "thread"
        config = Python.Config.model_validate({"function": "steps.py:It", **options})
        stage = Stage("python[0]", Python(config, StepContext("python[0]", "p", None, tmp_path)))
        stage.open()
        stages.append(stage)
        return stage

    yield make
    for stage in stages:
        await stage.close()


async def process(stage: Stage, *records: dict[str, Any]) -> Processed:
    given = [{"seq": n, "key": "a"} | record for n, record in enumerate(records)]
    if stage.offloaded is None:
        done = stage.process(given, None, NOW)
    else:
        done = await stage.process_waiting(given, None, NOW, lambda: None, None)
    assert len(given) + done.emitted == len(done.records) + done.filtered + done.absorbed + len(done.rejects)
    return done


async def counts(stage: Stage, *records: dict[str, Any]) -> list[Any]:
    return [record["n"] for record in (await process(stage, *records)).records]


@pytest.mark.parametrize("way", CALLS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_record_that_fails_leaves_the_state_as_it_was(place: Place, way: str, fault: str) -> None:
    stage = place(way)
    await process(stage, {"key": "a"}, {"key": "b"})
    before = await stage.snapshot()
    done = await process(stage, {"does": fault})
    assert [bad.reason for bad in done.rejects] == [FAULTS[fault]]
    assert await stage.snapshot() == before
    done = await process(stage, {}, {"does": fault}, {"key": "b"}, {})
    assert [record["n"] for record in done.records] == [2, 2, 3]
    assert [bad.record["seq"] for bad in done.rejects] == [1]


@pytest.mark.parametrize("way", ["thread", "awaited"])
async def test_a_batch_that_runs_out_of_time_leaves_the_state_as_it_was(
    place: Place, until: Callable[..., Any], way: str
) -> None:
    stage = place(way, timeout="1s")
    await process(stage, {"key": "a"})
    before = await stage.snapshot()
    done = await process(stage, {}, {"does": "hang"}, {})
    assert [bad.reason for bad in done.rejects] == ["timeout"] * 3
    user = stage.step._object.function.__call__.__func__.__globals__  # type: ignore[attr-defined]
    user["go_on"].set()
    await until(lambda: not stage.offloaded._executor._unended.count)  # type: ignore[union-attr]
    assert await stage.snapshot() == before
    assert await counts(stage, {}, {}) == [2, 3]


BATCHES = """
class Batches(It):
    __call__ = None
    def process(self, records):
        made = []
        for record in records:
            made.append(self.one(record))
        return made
"""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_batch_that_fails_leaves_the_state_as_it_was(tmp_path: Path, fault: str) -> None:
    (tmp_path / "steps.py").write_text((CODE + BATCHES).replace("    __call__ = None\n", ""))
    run = run_step({"type": "python", "function": "steps.py:Batches"}, folder=tmp_path)
    run.send([{"seq": 0, "key": "a"}])
    assert run.send([{"seq": 1, "key": "a"}, {"seq": 2, "key": "b", "does": fault}]) == []
    assert [bad.reason for bad in run.rejects] in (
        [FAULTS[fault]] * 2,
        ["bad_result"] * 2,  # None in a list is no list of dicts
    )
    assert [record["n"] for record in run.send([{"seq": 3, "key": "a"}, {"seq": 4, "key": "b"}])] == [2, 1]


def test_a_record_that_a_batch_rejects_undoes_nothing(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text("""
import streamd
class It:
    def open(self, context):
        self.state = context.state
    def process(self, records):
        self.state["seen"] = self.state.get("seen", 0) + len(records)
        return [streamd.Reject("odd", r) if r["n"] % 2 else r | {"seen": self.state["seen"]} for r in records]
""")
    run = run_step({"type": "python", "function": "steps.py:It"}, [{"n": 0}, {"n": 1}], folder=tmp_path)
    assert run.send([{"n": 2}]) == [{"n": 2, "seen": 3}]
    assert len(run.rejects) == 1


DOES = st.sampled_from([None, None, None, *FAULTS])
RECORDS = st.lists(
    st.builds(lambda key, does: {"key": key, "does": does}, st.sampled_from("ab"), DOES), max_size=12
)


@given(batches=st.lists(RECORDS, max_size=3), restarts=st.sets(st.integers(0, 2)))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_failed_records_make_no_difference_for_the_others(
    tmp_path: Path, batches: list[list[dict[str, Any]]], restarts: set[int]
) -> None:
    """Neither do restarts."""
    code = CODE + textwrap.indent("\n" + CALLS["inline"], "    ")
    (tmp_path / "steps.py").write_text(code)

    def results(*, whole: bool) -> list[Any]:
        run: StepRun = run_step({"type": "python", "function": "steps.py:It"}, folder=tmp_path)
        seq = 0
        for number, batch in enumerate(batches):
            given = []
            for record in batch:
                seq += 1
                if whole or record["does"] is None:
                    given.append(record | {"seq": seq})
            run.send(given)
            if whole and number in restarts:
                run.restart()
        return run.records

    assert results(whole=True) == results(whole=False)


async def test_a_state_is_refused_where_calls_overlap(place: Place) -> None:
    stage = place("thread", concurrency=2)
    done = await process(stage, {})
    assert [bad.reason for bad in done.rejects] == ["exception"]
    assert "set concurrency = 1" in done.rejects[0].detail
