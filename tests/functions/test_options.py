"""What follows from the options of a function for its executor."""

from pathlib import Path
from typing import Any

import pytest

from streamd.core.contracts import Offload, StepContext
from streamd.core.errors import ConfigError
from streamd.functions.options import DEFAULT_TIMEOUT_S, FunctionOptions
from streamd.functions.reference import Named

SOURCE = """
def function(record): return record
async def awaited(record): return record
class Batches:
    def process(self, records): return records
class Keyed:
    def open(self, context): pass
    def __call__(self, record): return record
class Ticking(Keyed):
    def tick(self, now): pass
    def next_deadline(self): pass
class Bare:
    def __call__(self, record): return record
    tick, next_deadline = Ticking.tick, Ticking.next_deadline
class Stored(Keyed):
    def snapshot(self): return b""
    def restore(self, state): pass
"""


def offload(tmp_path: Path, name: str, **options: Any) -> Offload | None:
    (tmp_path / "steps.py").write_text(SOURCE)
    made = FunctionOptions.model_validate({"function": f"steps.py:{name}"} | options)
    context = StepContext("python[0]", "p", None, tmp_path, frozenset({"k"}))
    return made.offload(context, Named(made.function, tmp_path, {}))


def test_an_inline_function_needs_no_executor_and_an_async_one_the_loop(tmp_path: Path) -> None:
    assert offload(tmp_path, "function") is None
    assert offload(tmp_path, "awaited", concurrency=3) == Offload("loop", 3, DEFAULT_TIMEOUT_S)
    made = offload(tmp_path, "function", executor="thread", timeout="2s")
    assert made is not None
    assert (made.executor, made.timeout_s, made.carries_state) == ("thread", 2.0, False)


def test_options_of_processes(tmp_path: Path) -> None:
    process = {"executor": "process"}
    made = offload(tmp_path, "function", max_batches=5, memory_limit="64MiB", **process)
    assert made == Offload(
        "process", 1, DEFAULT_TIMEOUT_S, 5, 64 << 20, each=True, searches=True, carries_state=True
    )
    made = offload(tmp_path, "function", mode="batch", on_lost="reject", **process)
    assert made is not None
    assert (made.each, made.searches) == (False, False)
    made = offload(tmp_path, "Batches", concurrency=2, partition_by=["k"], **process)
    assert made is not None
    assert made.partition is not None
    assert (made.each, made.partition.of({"k": "a"})) == (False, "a")


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("Stored", {}, "snapshot and restore of class Stored do not work in worker processes"),
        ("Bare", {}, r"in worker processes class Bare needs open\(self, context\)"),
        (
            "Ticking",
            {"concurrency": 2},
            "set partition_by, so that each key has its process, or concurrency = 1",
        ),
        ("function", {"partition_by": ["x"]}, "x"),
    ],
)
def test_a_state_that_cannot_outlive_its_process_is_refused(
    tmp_path: Path, name: str, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        offload(tmp_path, name, executor="process", **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Ticking", {}), ("Ticking", {"concurrency": 2, "partition_by": ["k"]}),
        ("Keyed", {"concurrency": 2}), ("Keyed", {"concurrency": 2, "partition_by": ["k"]}),
    ],
)  # fmt: skip
def test_a_state_that_the_daemon_carries_is_allowed(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    assert offload(tmp_path, name, executor="process", **options) is not None
