import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from streamd.core.contracts import StepContext
from streamd.core.now import Now
from streamd.runtime.offload import Offloaded
from streamd.runtime.step_log import MAX_KINDS, StepLog
from streamd.steps.python import Python

NOW = Now(1e9, 100.0)
EXECUTORS = [("inline", "def"), ("inline", "async def"), ("thread", "def"), ("process", "def")]
BODY = """
    if record["n"] == 1:
        raise ValueError("one")
    if record["n"] == 2:
        raise ValueError("two")
    if record["n"] == 3:
        try:
            {}["x"]
        except KeyError as missing:
            raise RuntimeError("three") from missing
    return None if record["n"] == 4 else record
"""


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Any]:
    """Runs records through a step made of this source, wherever it runs, and logs as a pipeline does."""

    def make(source: str, executor: str) -> tuple[Callable[..., Any], Callable[[], Any]]:
        (tmp_path / "steps.py").write_text(source)
        config = Python.Config.model_validate({"function": "steps.py:step", "executor": executor})
        step = Python(config, StepContext("python[0]", "p", None, tmp_path))
        offloaded = Offloaded(step, step.offload) if step.offload is not None else None
        step_log = StepLog()

        async def run(*numbers: int) -> list[Any]:
            records = [{"n": n} for n in numbers]
            done = await offloaded.process(records, NOW) if offloaded else step.process(records, NOW)
            step_log.log_rejects("p", "python[0]", done.rejects)
            return done.rejects

        async def close() -> None:
            if offloaded is not None:
                await offloaded.close()

        return run, close

    return make


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """Every event, made safe as for a line."""
    from streamd.logs.line import safe  # noqa: PLC0415

    events: list[dict[str, Any]] = []

    def take(_: Any, method: str, event: Any) -> Any:
        events.append(dict(safe(None, method, event)))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[take], cache_logger_on_first_use=False)
    yield events
    structlog.configure(**before)


@pytest.mark.parametrize(("executor", "head"), EXECUTORS)
async def test_each_kind_of_failure_of_a_step_is_logged_once_with_its_traceback(
    process: Callable[..., Any], logged: list[dict[str, Any]], executor: str, head: str
) -> None:
    run, close = process(f"{head} step(record):{BODY}", executor)
    rejects = [*await run(0, 1, 1, 2), *await run(1, 2, 3, 4), *await run(1, 3, 4)]
    await close()
    assert [(event["event"], event.get("error", event.get("detail"))) for event in logged] == [
        ("step_failed", "ValueError: one (steps.py:3)"),
        ("step_failed", "ValueError: two (steps.py:5)"),
        ("step_failed", "RuntimeError: three (steps.py:10)"),
        ("step_results_refused", "the function returned None: was `return` forgotten?"),
    ]
    for event in logged[:3]:
        lines = event["exception"]
        assert lines[0] == "Traceback (most recent call last):"
        assert 'steps.py", line ' in lines[1]
        assert not any("steps/python.py" in line for line in lines)
    assert "KeyError: 'x'" in logged[2]["exception"]
    assert logged[2]["exception"][-1] == "RuntimeError: three"
    assert json.dumps(logged)
    assert {bad.detail for bad in rejects if bad.reason == "exception"} == {e["error"] for e in logged[:3]}


async def test_the_kinds_that_are_logged_are_bounded(
    process: Callable[..., Any], logged: list[dict[str, Any]]
) -> None:
    branches = "\n".join(f"    if record['n'] == {n}: raise ValueError" for n in range(50))
    for executor in ("inline", "process"):
        run, close = process(f"def step(record):\n{branches}", executor)
        await run(*range(50))
        await close()
        assert [event["event"] for event in logged] == ["step_failed"] * MAX_KINDS
        assert "others of this step are not" in logged[-1]["hint"]
        logged.clear()
