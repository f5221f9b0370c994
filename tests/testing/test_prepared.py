from typing import Any

from streamd.core.settings import ComponentSettings
from streamd.steps.python import Python
from streamd.testing.prepared import inline

WHERE: dict[str, Any] = {
    "executor": "process",
    "concurrency": 2,
    "timeout": "5s",
    "max_batches": 10,
    "memory_limit": "100MB",
    "on_lost": "reject",
    "partition_by": ["a"],
}
WHAT: dict[str, Any] = {"function": "steps.py:One", "params": {"n": 1}, "tick_every": "1s", "max_keys": 5}


def test_a_python_step_runs_inline_and_does_the_same() -> None:
    step = inline(ComponentSettings(type="python", **WHERE, **WHAT))
    assert step == ComponentSettings(type="python", **WHAT)
    assert Python.Config(**step.options).executor == "inline"


def test_other_steps_keep_all_their_options() -> None:
    step = ComponentSettings(type="own", timeout="5s", executor="thread")
    assert inline(step) is step
