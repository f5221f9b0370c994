"""Also about `runtime/offload_errors.py`, `runtime/offload_messages.py` and `runtime/offload_worker.py`."""

import asyncio
import os
import random
import signal
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.core.ack import Ack
from streamd.core.contracts import Processed, StepContext
from streamd.core.now import Now
from streamd.runtime.offload import Offloaded
from streamd.steps.python import Python

NOW = Now(1e9, 100.0)
HANG = "threading.Event().wait()"


@pytest.fixture
def offloaded(tmp_path: Path) -> Callable[..., Offloaded]:
    """A python step with this body, run elsewhere."""

    def make(
        body: str, executor: str = "process", head: str = "def step(record):", **options: Any
    ) -> Offloaded:
        source = "import asyncio, os, sys, threading, time\n" + head + "\n" + textwrap.indent(body, "    ")
        (tmp_path / "steps.py").write_text(source)
        config = Python.Config.model_validate(
            {"function": "steps.py:step", "executor": executor, "timeout": "20s", **options}
        )
        step = Python(config, StepContext("python[0]", "p", None, tmp_path))
        assert step.offload is not None
        return Offloaded(step, step.offload)

    return make


async def outcome(step: Offloaded, *records: Any) -> tuple[list[Any], list[str]]:
    given = [dict(record) for record in records]
    done = await step.process(given, NOW)
    assert len(given) + done.emitted == len(done.records) + done.filtered + done.absorbed + len(done.rejects)
    return done.records, [bad.reason for bad in done.rejects]


def _same(_: Any, records: list[Any]) -> Processed:
    return Processed(records)


EXECUTORS = [
    ("process", "def step(record):"),
    ("thread", "def step(record):"),
    ("inline", "async def step(record):"),
]


@pytest.mark.parametrize(("executor", "head"), EXECUTORS)
async def test_wherever_it_runs_a_function_is_judged_the_same(
    offloaded: Callable[..., Offloaded], executor: str, head: str
) -> None:
    body = """
import streamd
match record["n"]:
    case 0: return record | {"seen": True}
    case 1: return streamd.DROP
    case 2: return [record, record]
    case 3: raise streamd.Reject("no")
    case 4: return None
    case 5: return 5
    case 6: 1 / 0
    case 7: raise SystemExit(3)
    case 8: raise asyncio.CancelledError
"""
    step = offloaded(body, executor, head)
    records, reasons = await outcome(step, *({"n": n} for n in (8, *range(9))))
    assert records == [{"n": 0, "seen": True}, {"n": 2}, {"n": 2}]
    assert reasons == ["exception", "rejected", "no_result", "bad_result", *["exception"] * 3]
    assert await outcome(step, {"n": 0}) == ([{"n": 0, "seen": True}], [])
    await step.close()


@pytest.mark.parametrize(("executor", "head"), EXECUTORS)
async def test_a_batch_function_runs_elsewhere_too(
    offloaded: Callable[..., Offloaded], executor: str, head: str
) -> None:
    step = offloaded("return record[:1]", executor, head, mode="batch")
    assert await outcome(step, {"n": 1}, {"n": 2}) == ([{"n": 1}], [])
    await step.close()


@pytest.mark.parametrize(
    ("body", "reason", "limit"),
    [
        (HANG, "timeout", "1s"),
        ("os.kill(os.getpid(), 9)", "worker_died", "20s"),
        ("os._exit(0)", "worker_died", "20s"),
        ("os.closerange(3, 50); os._exit(0)", "worker_died", "20s"),
        ("[os.write(fd, b'\\0\\0\\0\\1x') for fd in range(3, 9) if is_open(fd)]", "bad_result", "20s"),
        ("[os.write(fd, b'junk' * 99) for fd in range(3, 9) if is_open(fd)]", "bad_result", "20s"),
        ("[os.write(3, b'junk' * 25_000) for _ in range(99)]", "bad_result", "20s"),
        ("os.write(3, b'\\0' * 99); os._exit(0)", "bad_result", "20s"),
        ("os.write(3, b'\\0\\0\\1\\0'); os._exit(0)", "worker_died", "20s"),
        ("os.fork() or time.sleep(10); os.kill(os.getpid(), 9)", "worker_died", "5s"),
        ("os.fork() or time.sleep(10); os._exit(3)", "worker_died", "5s"),
    ],
)
async def test_what_a_worker_process_does_wrong_costs_its_record_and_it_is_replaced(
    offloaded: Callable[..., Offloaded], loop_errors: list[Any], body: str, reason: str, limit: str
) -> None:
    helper = (
        "def is_open(fd):\n    try: os.write(fd, b'')\n    except OSError: return False\n    return True\n"
    )
    step = offloaded(
        f"if record['bad']:\n    {body}\nreturn {{'pid': os.getpid()}}",
        head=helper + "def step(record):",
        timeout=limit,
    )
    (first,), _ = await outcome(step, {"bad": False})
    done = await step.process([{"bad": False}, {"bad": True}, {"bad": False}], NOW)
    assert [(bad.record, bad.reason) for bad in done.rejects] == [({"bad": True}, reason)]
    assert len(done.records) == 2
    (second,), reasons = await outcome(step, {"bad": False})
    assert reasons == []
    assert first["pid"] != second["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(first["pid"], 0)
    await step.close()
    with pytest.raises(ProcessLookupError):
        os.kill(second["pid"], 0)
    assert loop_errors == []


@pytest.fixture
async def loop_errors() -> list[Any]:
    """What the event loop would log."""
    seen: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
    return seen


async def test_an_answer_given_before_a_process_ends_is_taken_though_a_child_of_it_lives_on(
    offloaded: Callable[..., Offloaded], wait_for_exit: Callable[[int], Any]
) -> None:
    step = offloaded(
        "child = os.fork()\nif not child: time.sleep(60)\n"
        "threading.Timer(0.3, os._exit, (0,)).start()\nreturn {'pid': os.getpid(), 'child': child}"
    )
    for _ in range(2):
        (record,), reasons = await outcome(step, {})
        assert reasons == []
        await wait_for_exit(record["pid"])
        os.kill(record["child"], signal.SIGKILL)
    await step.close()


async def test_what_a_hung_worker_process_has_started_is_killed_with_it(
    offloaded: Callable[..., Offloaded], wait_for_exit: Callable[[int], Any], tmp_path: Path
) -> None:
    step = offloaded(
        "import subprocess\nchild = subprocess.Popen(['sleep', '1000'])\n"
        "open(record['note'], 'w').write(str(child.pid))\nchild.wait()",
        timeout="2s",
    )
    note = tmp_path / "pid"
    assert await outcome(step, {"note": str(note)}) == ([], ["timeout"])
    await wait_for_exit(int(note.read_text()))
    await step.close()


async def test_the_kernel_ends_a_worker_process_rather_than_the_daemon_where_memory_runs_out(
    offloaded: Callable[..., Offloaded],
) -> None:
    step = offloaded("return {'score': int(open('/proc/self/oom_score_adj').read())}")
    (record,), _ = await outcome(step, {})
    assert record["score"] >= 500
    await step.close()


async def test_a_worker_killed_between_batches_costs_nothing_once_that_is_known(
    offloaded: Callable[..., Offloaded], wait_for_exit: Callable[[int], Any]
) -> None:
    step = offloaded("return {'pid': os.getpid()}")
    (first,), _ = await outcome(step, {})
    os.kill(first["pid"], signal.SIGKILL)
    await wait_for_exit(first["pid"])
    (second,), reasons = await outcome(step, {})
    assert (reasons, first != second) == ([], True)
    await step.close()


@pytest.fixture
def wait_for_exit() -> Callable[[int], Any]:
    async def wait(pid: int) -> None:
        async with asyncio.timeout(60):
            while os.path.exists(f"/proc/{pid}"):  # noqa: ASYNC240, PTH110 - the kernel's own, it never blocks
                await asyncio.sleep(0.01)

    return wait


async def test_a_worker_is_replaced_after_max_batches(offloaded: Callable[..., Offloaded]) -> None:
    step = offloaded("return {'pid': os.getpid()}", max_batches=2)
    pids = [(await outcome(step, {}))[0][0]["pid"] for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]
    await step.close()


async def test_records_that_cannot_cross_are_rejected_alone(offloaded: Callable[..., Offloaded]) -> None:
    step = offloaded("return {'o': object()} if record['n'] == 2 else record")
    circle: dict[str, Any] = {"n": 0}
    circle["me"] = circle
    given = [circle, {"n": object()}, {"n": 1, "raw": b"\0"}, {"n": 2}]
    done = await step.process(given, NOW)
    assert done.records == [{"n": 1, "raw": b"\0"}]
    assert [bad.reason for bad in done.rejects] == ["bad_result", "unsendable", "unsendable"]
    assert any(bad.record is circle for bad in done.rejects)
    await step.close()


async def test_the_child_of_a_fork_that_returns_answers_nothing(offloaded: Callable[..., Offloaded]) -> None:
    step = offloaded("os.fork()\nreturn {'n': record['n'], 'pid': os.getpid()}")
    pids = set()
    for n in range(4):
        (record,), reasons = await outcome(step, {"n": n})
        assert (record["n"], reasons) == (n, [])
        pids.add(record["pid"])
    assert len(pids) == 1
    await step.close()


@pytest.mark.parametrize("mode", ["record", "batch"])
@pytest.mark.parametrize(
    ("deed", "reason", "limit"), [("os._exit(1)", "worker_died", "20s"), (HANG, "timeout", "1s")]
)
async def test_a_record_that_no_process_survives_is_found_and_its_neighbours_pass_in_order(
    offloaded: Callable[..., Offloaded], mode: str, deed: str, reason: str, limit: str
) -> None:
    body = (
        "for one in record if type(record) is list else [record]:\n"
        f"    if one['n'] == 5: {deed}\nreturn record"
    )
    step = offloaded(body, mode=mode, timeout=limit)
    records = [{"n": n} for n in range(9)]
    done = await step.process(records, NOW)
    assert [record["n"] for record in done.records] == [0, 1, 2, 3, 4, 6, 7, 8]
    assert [(bad.record, bad.reason) for bad in done.rejects] == [({"n": 5}, reason)]
    assert step.progress >= 4
    await step.close()


async def test_the_search_can_be_turned_off(offloaded: Callable[..., Offloaded]) -> None:
    step = offloaded("os._exit(1) if record['n'] else 0\nreturn record", on_lost="reject")
    assert await outcome(step, {"n": 0}, {"n": 1}) == ([], ["worker_died"] * 2)
    await step.close()


async def test_a_machine_on_which_nothing_works_costs_few_processes(
    offloaded: Callable[..., Offloaded], tmp_path: Path
) -> None:
    step = offloaded("open(record['note'], 'a').write('x')\nos._exit(1)")
    note = tmp_path / "note"
    records = [{"note": str(note)}] * 64
    assert await outcome(step, *records) == ([], ["worker_died"] * 64)
    assert len(note.read_text()) == 14
    assert await outcome(step, *records) == ([], ["worker_died"] * 64)
    assert len(note.read_text()) == 16
    await step.close()


async def test_what_a_worker_prints_is_no_part_of_an_answer(offloaded: Callable[..., Offloaded]) -> None:
    step = offloaded("print('x' * 100); os.write(1, b'y' * 100); sys.stdin.read(); return record")
    assert await outcome(step, {"n": 1}) == ([{"n": 1}], [])
    await step.close()


async def test_a_worker_that_cannot_start_costs_batches_and_says_why(
    offloaded: Callable[..., Offloaded],
) -> None:
    step = offloaded(
        "return record",
        head=f"if os.getpid() != {os.getpid()}: raise ValueError('not here')\ndef step(record):",
    )
    done = await step.process([{}], NOW)
    assert done.rejects[0].reason == "worker_died"
    assert done.rejects[0].detail.endswith("ValueError: not here")
    assert done.rejects[0].error is not None
    await step.close()


async def test_threads_that_hang_are_left_alone_until_too_many_do(
    offloaded: Callable[..., Offloaded],
) -> None:
    gate = threading.Event()
    step = offloaded(
        "if record['gate']: record['gate'][0].wait(); record['changed'] = 1\nreturn record",
        "thread", timeout="100ms", concurrency=2,
    )  # fmt: skip
    for _ in range(2):
        records = [{"gate": [gate]}]
        done = await step.process(records, NOW)
        assert [(bad.reason, bad.record) for bad in done.rejects] == [("timeout", records[0])]
    assert await outcome(step, {"gate": None}) == ([], ["hung"])
    gate.set()
    async with asyncio.timeout(60):
        while (await outcome(step, {"gate": None}))[1] == ["hung"]:
            await asyncio.sleep(0.01)
    await step.close()


async def test_an_async_function_that_takes_too_long_is_cancelled(
    offloaded: Callable[..., Offloaded],
) -> None:
    step = offloaded(
        "if record['long']: await asyncio.sleep(60)\nreturn record",
        "inline", "async def step(record):", timeout="50ms",
    )  # fmt: skip
    assert await outcome(step, {"long": True}) == ([], ["timeout"])
    assert await outcome(step, {"long": False}) == ([{"long": False}], [])
    await step.close()


@pytest.mark.parametrize(
    "body",
    [
        "raise asyncio.CancelledError",
        "asyncio.current_task().cancel(); await asyncio.sleep(60)",
        "task = asyncio.create_task(asyncio.sleep(60)); task.cancel(); await task",
    ],
)
async def test_a_cancellation_of_a_functions_own_costs_its_record(
    offloaded: Callable[..., Offloaded], body: str
) -> None:
    step = offloaded(
        f"if record['bad']:\n    {body}\n"
        "try:\n    async with asyncio.timeout(0.01): await asyncio.sleep(60)\n"
        "except TimeoutError: return record",
        "inline", "async def step(record):",
    )  # fmt: skip
    good = {"bad": False}
    assert await outcome(step, good, {"bad": True}, good) == ([good, good], ["exception"])
    await step.close()


@pytest.mark.parametrize("mode", ["record", "batch"])
async def test_a_cancellation_of_ours_ends_the_call_and_begins_no_other(
    offloaded: Callable[..., Offloaded], mode: str
) -> None:
    seen: list[str] = []
    step = offloaded(
        "seen = (record[0] if type(record) is list else record)['seen'][0]\nseen('began')\n"
        "try: await asyncio.sleep(60)\nexcept asyncio.CancelledError: seen('ended')\nreturn record",
        "inline", "async def step(record):", mode=mode,
    )  # fmt: skip
    running = asyncio.create_task(step.process([{"seen": [seen.append]}, {"seen": [seen.append]}], NOW))
    async with asyncio.timeout(60):
        while not seen:
            await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await step.close()
    async with asyncio.timeout(60):
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)
    assert seen == ["began", "ended"]


@pytest.mark.parametrize(("executor", "head"), EXECUTORS)
async def test_a_dict_that_a_function_returns_again_and_again_is_another_record_each_time(
    offloaded: Callable[..., Offloaded], executor: str, head: str
) -> None:
    step = offloaded("state['n'] = record['n']\nreturn state", executor, "state = {}\n" + head)
    first, _ = await outcome(step, {"n": 1}, {"n": 2}, {"n": 3})
    second, _ = await outcome(step, {"n": 4}, {"n": 5})
    assert (first, second) == ([{"n": 1}, {"n": 2}, {"n": 3}], [{"n": 4}, {"n": 5}])
    await step.close()


@pytest.mark.parametrize(("executor", "head"), EXECUTORS)
async def test_batches_go_on_in_the_order_they_came(
    bench: Any, offloaded: Callable[..., Offloaded], executor: str, head: str
) -> None:
    nap = "await asyncio.sleep" if executor == "inline" else "time.sleep"
    body = f"{nap}(len(record['word']) % 7 / 2000)\nreturn record"
    slow, fast = (offloaded(body, executor, head, concurrency=n) for n in (3, 2))
    b = bench(_same, _same, _same, workers=2)
    b.pipeline.stages[0].offloaded, b.pipeline.stages[2].offloaded = slow, fast
    b.workers.count = 7
    rng = random.Random(5)  # noqa: S311 - a test's own dice
    words = [f"{n:04}" + "x" * rng.randrange(7) for n in range(60)]
    for word in words:
        b.intake.offer(b.frames(word.encode()))
    b.workers.close()
    delivering = asyncio.create_task(b.deliveries[0].run())
    await b.workers.run()
    b.deliveries[0].buffer.close()
    await delivering
    assert [record["word"] for record in b.sinks[0].written] == words
    assert b.balanced


@pytest.mark.parametrize(
    ("executor", "head", "options"),
    [
        ("thread", "def step(record):", {}),
        ("inline", "async def step(record):", {}),
        ("process", "def step(record):", {"concurrency": 2, "partition_by": ["lower(word)"]}),
    ],
)
async def test_a_step_sees_records_in_order_also_if_each_frame_of_a_batch_waits_for_its_own_result(
    bench: Any, offloaded: Callable[..., Offloaded], executor: str, head: str, options: dict[str, Any]
) -> None:
    nap = "await asyncio.sleep" if executor == "inline" else "time.sleep"
    body = f"seen.append(record['word'])\n{nap}(0.001)\nreturn record | {{'seen': seen[:]}}"
    b = bench(_same, _same, workers=3)
    b.pipeline.stages[0].offloaded = offloaded(body, executor, "seen = []\n" + head, **options)
    b.workers.count = 5
    words = ["a"] * 20 + ["b"] * 20
    told: list[Any] = []
    for n, word in enumerate(words):
        ack = Ack(told.append) if n % 3 else None
        b.intake.offer(b.frames(f"{word * (n + 1)}".encode(), ack=ack))
    b.workers.close()
    delivering = asyncio.create_task(b.deliveries[0].run())
    await b.workers.run()
    b.deliveries[0].buffer.close()
    await delivering
    assert [len(record["word"]) for record in b.sinks[0].written] == list(range(1, 41))
    assert all(sorted(record["seen"], key=len) == record["seen"] for record in b.sinks[0].written)
    assert len(told) == 26
    assert b.balanced


async def test_a_drain_that_runs_out_of_time_leaves_what_is_under_way_in_flight(
    bench: Any, offloaded: Callable[..., Offloaded]
) -> None:
    step = offloaded(HANG, concurrency=2)
    b = bench(_same, workers=3)
    b.pipeline.stages[0].offloaded = step
    for n in range(9):
        b.intake.offer(b.frames(b"w%d" % n))
    running = asyncio.create_task(b.workers.run())
    async with asyncio.timeout(60):
        while not b.records.in_flight:
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert b.records.in_flight == b.feed.frames.decoded == 9
    assert b.records.out == 0


@pytest.mark.parametrize(("executor", "head"), EXECUTORS)
async def test_numbers_and_texts_that_msgpack_has_no_word_for_come_through_unchanged(
    offloaded: Callable[..., Offloaded], executor: str, head: str
) -> None:
    step = offloaded("return record | {'more': [1 << 90]}", executor, head)
    given = {"big": 1 << 70, "low": -(1 << 64), "half": "\ud800", "text": "\u6570"}
    assert await outcome(step, given) == ([given | {"more": [1 << 90]}], [])
    await step.close()


async def test_a_worker_process_runs_the_code_that_was_loaded_whatever_its_files_have_become(
    offloaded: Callable[..., Offloaded], tmp_path: Path
) -> None:
    (tmp_path / "helper.py").write_text("VERSION = 1")
    step = offloaded("import helper\nreturn {'v': helper.VERSION, 'pid': os.getpid()}", max_batches=1)
    (tmp_path / "helper.py").write_text("VERSION = 2")
    (tmp_path / "steps.py").write_text("def step(record): return {'v': 3}")
    pids = set()
    for _ in range(2):
        (record,), _ = await outcome(step, {})
        assert record["v"] == 1
        pids.add(record["pid"])
    assert len(pids) == 2
    await step.close()


async def test_an_object_is_made_once_in_each_worker_process_and_closed_there(
    offloaded: Callable[..., Offloaded], tmp_path: Path
) -> None:
    note = tmp_path / "note"
    body = (
        "def __init__(self, note): self.note = note; self.say('made')\n"
        "def say(self, word):\n"
        "    with open(self.note, 'a') as file: file.write(f'{word} {os.getpid()}\\n')\n"
        "def __call__(self, record): return {'pid': os.getpid()}\n"
        "def close(self): self.say('closed')"
    )
    step = offloaded(body, head="class step:", params={"note": str(note)})
    (one, two), _ = await outcome(step, {}, {})
    (three,), _ = await outcome(step, {})
    await step.close()
    assert one == two == three != {"pid": os.getpid()}
    assert note.read_text() == "made {pid}\nclosed {pid}\n".format(**one)
