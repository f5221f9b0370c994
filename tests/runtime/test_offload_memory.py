"""The memory limit of worker processes: plain leaks, one large allocation, and NumPy."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.core.contracts import StepContext
from streamd.core.now import Now
from streamd.runtime.offload import Offloaded
from streamd.steps.python import Python

NOW = Now(1e9, 100.0)


@pytest.fixture
def limited(tmp_path: Path) -> Callable[..., Offloaded]:
    """A python step with this body in a process with a memory limit."""

    def make(body: str, head: str = "", memory_limit: str = "100MB", **options: Any) -> Offloaded:
        text = f"import os\n{head}\nkept = []\ndef step(record):\n{textwrap.indent(body, '    ')}\n"
        (tmp_path / "steps.py").write_text(text)
        config = Python.Config.model_validate(
            {
                "function": "steps.py:step", "executor": "process", "timeout": "60s",
                "memory_limit": memory_limit, **options,
            }
        )  # fmt: skip
        step = Python(config, StepContext("python[0]", "p", None, tmp_path))
        assert step.offload is not None
        return Offloaded(step, step.offload)

    return make


@pytest.mark.parametrize("take", ["bytes(200_000_000)", "list(range(10_000_000))"])
async def test_a_record_for_which_the_memory_is_too_small_is_rejected_alone(
    limited: Callable[..., Offloaded], take: str
) -> None:
    step = limited(f"if record['n'] == 1: {take}\nreturn record")
    done = await step.process([{"n": n} for n in range(3)], NOW)
    assert [record["n"] for record in done.records] == [0, 2]
    (bad,) = done.rejects
    assert (bad.record, bad.reason) == ({"n": 1}, "memory")
    assert bad.detail == "MemoryError:  (steps.py:5); memory_limit is 100 MB"
    await step.close()


@pytest.mark.parametrize(
    ("head", "leak"),
    [("", "kept.append(bytes(6_000_000))"), ("import numpy", "kept.append(numpy.ones(800_000))")],
)
async def test_a_process_that_leaks_is_replaced_between_batches_and_loses_nothing(
    limited: Callable[..., Offloaded], head: str, leak: str
) -> None:
    step = limited(f"{leak}\nreturn {{'pid': os.getpid(), 'kept': len(kept)}}", head)
    records = []
    for _ in range(40):
        done = await step.process([{}], NOW)
        assert done.rejects == []
        records += done.records
    pids = {record["pid"] for record in records}
    assert 2 < len(pids) < 12
    assert max(record["kept"] for record in records) <= 16
    await step.close()


@pytest.mark.parametrize("size", [3_000_000, 30_000_000])
async def test_a_leak_within_a_batch_loses_nothing_either(
    limited: Callable[..., Offloaded], size: int
) -> None:
    step = limited(f"kept.append(bytes({size}))\nreturn {{'n': record['n'], 'pid': os.getpid()}}")
    count = 180_000_000 // size
    done = await step.process([{"n": n} for n in range(count)], NOW)
    assert [record["n"] for record in done.records] == list(range(count))
    assert len({record["pid"] for record in done.records}) > 1
    await step.close()


async def test_a_process_that_needs_much_from_the_beginning_stays(limited: Callable[..., Offloaded]) -> None:
    """It holds over nine tenths of the limit if Python and its modules take 10 to 40 MB."""
    model = "model = bytearray(b'x') * 260_000_000"
    step = limited("return {'pid': os.getpid()}", model, "300MB")
    pids = {(await step.process([{}], NOW)).records[0]["pid"] for _ in range(3)}
    assert len(pids) == 1
    await step.close()


async def test_an_object_that_is_larger_than_the_limit_cannot_start_and_says_so(
    limited: Callable[..., Offloaded],
) -> None:
    step = limited("return record", "model = bytearray(b'x') * 120_000_000")
    (bad,) = (await step.process([{}], NOW)).rejects
    assert bad.reason == "worker_died"
    assert bad.detail.startswith(
        "the worker process cannot start: with its modules and its object the process holds 1"
    )
    assert bad.detail.endswith("MB, but memory_limit is 100 MB")
    await step.close()
