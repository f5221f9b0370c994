"""Conditions on sinks, pipelines that share a source, and steps that run elsewhere.

Also about `assembly.py`, `cli/run.py` and `components.py`.
"""

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HEAD = """
[admin]
listen = "127.0.0.1:0"
[daemon]
max_batch = 16
drain_timeout = "50s"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
"""
SINK = '[sinks.{0}]\ntype = "sqlite"\npath = "streamd.db"\ntable = "{0}"\n'
OUTLOOK = {
    "standing_queue", "standing_queue_over", "overflow_expected", "overflow_no_longer_expected",
    "loop_slack_small", "loop_slack_enough",
}  # fmt: skip
"""Events that tell how far the machine is behind; a busy one may log any of them."""
ONE = HEAD + '[pipelines.main]\nsources = ["floor"]\nsinks = ["records"]\n' + SINK.format("records")


def lines(*records: Any) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def numbers(daemon: Any, table: str = "records") -> list[int]:
    rows = daemon.query(f"SELECT record ->> 'n' FROM {table} ORDER BY id")  # noqa: S608 - a test's own names
    return [row[0] for row in rows]


def test_a_sink_gets_what_its_condition_chooses_and_the_books_know_the_rest(
    start: Callable[..., Any],
) -> None:
    config = (
        HEAD
        + '[pipelines.main]\nsources = ["floor"]\n'
        + """sinks = ["records", { name = "alarms", where = "value > 90 and meta('source') == 'floor'" }]\n"""
        + SINK.format("records")
        + SINK.format("alarms")
    )
    daemon = start(config)
    daemon.tcp(lines(*({"n": n, "value": n} for n in range(100)), {"n": 100, "value": "hot"}))
    daemon.wait_rows(101)
    daemon.wait_rows(9, "alarms")
    daemon.stop()
    assert numbers(daemon) == list(range(101))
    assert numbers(daemon, "alarms") == list(range(91, 100))
    books = daemon.books()
    told = {c: books["floor", "main", "alarms", c] for c in ("offered", "stored", "unmatched", "rejected")}
    assert told == {"offered": 101, "stored": 9, "unmatched": 91, "rejected": 1}
    ((stage, reason, payload),) = daemon.dead_letters("floor")
    assert (stage, reason, json.loads(payload)["n"]) == ("where", "expr:type", 100)


def test_pipelines_that_share_a_source_see_nothing_of_each_other(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "steps.py").write_text(
        "def a(record):\n    record['deep'].append({'by': 'a'})\n    return record\n"
        "def b(record):\n    record['deep'][0]['by'] = 'b'\n    return record if record['n'] % 2 else []\n"
    )
    config = HEAD + "".join(
        f'[pipelines.{name}]\nsources = ["floor"]\nsinks = ["{name}_out"]\n'
        f'steps = [{{ type = "python", function = "steps.py:{name}" }}]\n' + SINK.format(f"{name}_out")
        for name in ("a", "b")
    )
    daemon = start(config)
    daemon.tcp(lines(*({"n": n, "deep": [{"by": "sender"}]} for n in range(200))) + b"nonsense\n")
    daemon.wait_rows(200, "a_out")
    daemon.wait_rows(100, "b_out")
    daemon.stop()
    assert numbers(daemon, "a_out") == list(range(200))
    assert numbers(daemon, "b_out") == list(range(1, 200, 2))
    deep = {
        name: daemon.query(f"SELECT DISTINCT record ->> 'deep' FROM {name}_out")  # noqa: S608
        for name in ("a", "b")
    }
    assert deep == {"a": [('[{"by":"sender"},{"by":"a"}]',)], "b": [('[{"by":"b"}]',)]}
    books = daemon.books()
    assert (books["floor", "", "", "received"], books["floor", "", "", "decoded"]) == (201, 200)
    assert (books["floor", "a", "", "in"], books["floor", "b", "", "in"]) == (200, 200)
    assert books["floor", "b", "", "filtered"] == 100
    assert len(daemon.dead_letters("floor")) == 1


@pytest.mark.parametrize(
    ("executor", "head", "nap"),
    [
        ("thread", "def step(record):", "time.sleep"),
        ("process", "def step(record):", "time.sleep"),
        ("inline", "async def step(record):", "await asyncio.sleep"),
    ],
)
def test_the_stored_sequence_is_the_sent_one_whatever_each_batch_takes(
    start: Callable[..., Any], tmp_path: Path, executor: str, head: str, nap: str
) -> None:
    (tmp_path / "steps.py").write_text(
        f"import asyncio, time\n{head}\n    {nap}(record['nap_s'])\n    return record\n"
    )
    rng = random.Random(3)  # noqa: S311 - a test's own dice
    records = [{"n": n, "nap_s": rng.choice((0, 0, 0, 0.0005, 0.004))} for n in range(2000)]
    options = f'function = "steps.py:step", executor = "{executor}", concurrency = 3'
    step = f'steps = [{{ type = "python", {options} }}]\n'
    daemon = start(ONE.replace('sinks = ["records"]\n', 'sinks = ["records"]\n' + step))
    daemon.tcp(lines(*records))
    daemon.stop()  # the drain finishes what is under way
    assert numbers(daemon) == list(range(2000))


def test_worker_processes_killed_hung_leaking_and_returning_nonsense_cost_their_batches_only(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "steps.py").write_text(
        "import os, threading, time\nkept = []\n"
        "def step(records):\n"
        "    kept.append(bytearray(8 << 20))\n"  # each batch leaks 8 MiB
        "    for record in records:\n"
        "        match record.get('do'):\n"
        "            case 'die': os.kill(os.getpid(), 9)\n"
        "            case 'hang': threading.Event().wait()\n"
        "            case 'nonsense': [os.write(fd, b'\\0\\0\\0\\1x') for fd in (3, 4)]\n"
        "            case 'junk': os.write(3, b'junk' * 1000)\n"
        "            case 'orphan': os.fork() or time.sleep(10); os._exit(1)\n"
        "            case 'none': return None\n"
        "    return [record | {'kept': len(kept)} for record in records]\n"
    )
    step = (
        'steps = [{ type = "python", function = "steps.py:step", mode = "batch", executor = "process",'
        ' concurrency = 2, timeout = "1s", max_batches = 5 }]\n'
    )
    daemon = start(ONE.replace('sinks = ["records"]\n', 'sinks = ["records"]\n' + step))
    deeds = {100: "die", 300: "hang", 500: "nonsense", 600: "junk", 700: "none", 900: "orphan"}
    daemon.tcp(lines(*({"n": n, "do": deeds.get(n)} for n in range(1000))))
    daemon.stop()
    stored = numbers(daemon)
    letters = daemon.dead_letters("floor")
    lost = [json.loads(payload)["n"] for _, _, payload in letters]
    assert stored == sorted(stored)
    assert sorted(stored + lost) == list(range(1000))
    reasons = {json.loads(payload)["n"]: reason for _, reason, payload in letters}
    assert {n: reasons[n] for n in deeds} == {
        100: "worker_died", 300: "timeout", 500: "bad_result", 600: "bad_result", 700: "no_result",
        900: "worker_died",
    }  # fmt: skip
    neighbours = set(lost) - set(deeds)
    assert {reasons[n] for n in neighbours} <= {"no_result"}  # of 700, which costs its batch
    assert len(neighbours) < 16
    log = daemon.stderr.partition("source floor")[0]
    assert {json.loads(line)["event"] for line in log.splitlines()} - OUTLOOK == {
        "listening", "admin_listening", "ready", "step_batch_searched", "step_results_refused", "stopping",
    }  # fmt: skip
    assert daemon.query("SELECT max(record ->> 'kept') FROM records")[0][0] <= 5


def test_worker_processes_do_not_outlive_a_daemon_that_was_killed(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    (tmp_path / "steps.py").write_text(
        "import os, threading\nfrom pathlib import Path\n"
        "def step(record):\n"
        "    Path(record['pid']).write_text(str(os.getpid()))\n"
        "    threading.Event().wait()\n"
    )
    step = 'steps = [{ type = "python", function = "steps.py:step", executor = "process" }]\n'
    daemon = start(ONE.replace('sinks = ["records"]\n', 'sinks = ["records"]\n' + step))
    note = tmp_path / "pid"
    daemon.tcp(lines({"pid": str(note)}))
    pid = int(wait_until(lambda: note.exists() and note.read_text(), "the worker process"))
    os.kill(daemon.process.pid, signal.SIGKILL)
    daemon.process.wait()

    def gone() -> bool:
        status = Path(f"/proc/{pid}/status")
        return not status.exists() or "State:\tZ" in status.read_text()

    wait_until(gone, "the end of the worker process")


def test_a_drain_that_runs_out_of_time_in_a_step_names_what_it_drops(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    (tmp_path / "steps.py").write_text(
        "import threading\nfrom pathlib import Path\n"
        "def step(record):\n    Path(record['note']).touch()\n    threading.Event().wait()\n"
    )
    for executor in ("thread", "process"):
        step = f'steps = [{{ type = "python", function = "steps.py:step", executor = "{executor}" }}]\n'
        config = ONE.replace('sinks = ["records"]\n', 'sinks = ["records"]\n' + step)
        daemon = start(config.replace('"50s"', '"300ms"'))
        note = tmp_path / executor
        daemon.tcp(lines(*({"note": str(note)} for _ in range(3))))
        wait_until(note.exists, "the step")
        daemon.stop(expect=1)
        assert daemon.reasons("dropped")["shutdown"] == 3


def test_each_pipeline_of_a_shared_source_keeps_the_order(start: Callable[..., Any]) -> None:
    config = HEAD.replace("max_batch = 16", "max_batch = 4") + "".join(
        f'[pipelines.{name}]\nsources = ["floor"]\nsinks = ["{name}_out"]\nsteps = [{steps}]\n'
        + SINK.format(f"{name}_out")
        for name, steps in (("a", ""), ("b", '{ type = "filter", where = "n % 7 == 0" }'))
    )
    daemon = start(config)
    daemon.tcp(lines(*({"n": n} for n in range(20_000))))
    daemon.stop()
    assert numbers(daemon, "a_out") == list(range(20_000))
    assert numbers(daemon, "b_out") == list(range(0, 20_000, 7))


def test_a_sink_keeps_the_order_though_another_with_a_condition_blocks(start: Callable[..., Any]) -> None:
    config = (
        HEAD.replace("max_batch = 16", "max_batch = 1")
        + '[pipelines.main]\nsources = ["floor"]\n'
        + 'sinks = [{ name = "t", where = "n % 10 == 0" }, "records"]\n'
        + SINK.format("records")
        + SINK.format("t").replace("streamd.db", "t.db")
        + "buffer = { max_records = 3 }\n"
    )
    daemon = start(config, STREAMD_FAILPOINT="sqlite.commit@t.db:hang:2")
    daemon.tcp(lines(*({"n": n} for n in range(500))))
    daemon.wait_rows(500)
    daemon.stop()
    assert numbers(daemon) == list(range(500))


@pytest.mark.parametrize("raised", ["Mine", "GeneratorExit", "KeyboardInterrupt", "SystemExit"])
def test_whatever_a_coroutine_raises_costs_its_record(
    raised: str, start: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "steps.py").write_text(
        "class Mine(BaseException):\n    pass\n"
        f"async def step(record):\n    if record['n'] == 5:\n        raise {raised}\n    return record\n"
    )
    steps = 'steps = [{ type = "python", function = "steps.py:step" }]\n'
    daemon = start(ONE.replace('sinks = ["records"]\n', 'sinks = ["records"]\n' + steps))
    daemon.tcp(lines(*({"n": n} for n in range(10))))
    daemon.wait_rows(9)
    daemon.stop()
    assert numbers(daemon) == [n for n in range(10) if n != 5]


def test_a_coroutine_that_no_cancellation_ends_keeps_no_daemon_from_ending(
    start: Callable[..., Any], wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "steps.py").write_text(
        "import asyncio\n"
        "async def step(record):\n"
        "    while True:\n"
        "        try:\n            await asyncio.sleep(100)\n"
        "        except asyncio.CancelledError:\n            pass\n"
    )
    steps = 'steps = [{ type = "python", function = "steps.py:step", timeout = "100ms" }]\n'
    daemon = start(ONE.replace('sinks = ["records"]\n', 'sinks = ["records"]\n' + steps))
    daemon.tcp(lines({"n": 1}))
    wait_until(lambda: daemon.events("step_batch_lost"), "the timeout")
    daemon.stop()
    assert daemon.dead_letters("floor")[0][1] == "timeout"
