"""A class with a state in worker processes that raises, hangs, leaks, dies or returns nonsense."""

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

CLASS = """
import ctypes, os, signal, threading
from streamd import Reject

class Counts:
    leaked = []

    def open(self, context):
        self.state = context.state

    def process(self, records):
        return [self.one(record) for record in records]

    def __call__(self, record):
        return self.one(record)

    def one(self, record):
        state = self.state[record["k"]]
        state["n"] = state.get("n", 0) + 1
        match record.get("do"):
            case "raise": raise ValueError("no")
            case "reject": return Reject("not this one", record)
            case "nonsense": return 5
            case "huge": bytes(500_000_000)
            case "leak": self.leaked.append(bytes(60_000_000))
            case "hang": threading.Event().wait()
            case "exit": os._exit(3)
            case "crash": ctypes.string_at(0)
            case "kill": os.kill(os.getpid(), signal.SIGKILL)
            case "close": os.closerange(0, 99)
            case "close_0_1": os.close(0); os.close(1)
            case "fork": os.fork()
            case "junk": [os.write(fd, b"junk" * 99) for fd in range(3, 9) if is_open(fd)]
            case "bad_state": self.state[record["k"]] = object()
        record["count"] = state["n"]
        return record

def is_open(fd):
    try: os.fstat(fd)
    except OSError: return False
    return True
"""
CONFIG = """
[admin]
listen = "none"
[sources.floor]
{source}
codec = "json"
[pipelines.main]
sources = ["floor"]
sinks = ["records"]
[[pipelines.main.steps]]
type = "python"
function = "steps.py:{name}"
executor = "process"
timeout = "2s"
memory_limit = "150MB"
{options}
[sinks.records]
type = "sqlite"
path = "streamd.db"
batch = {{ max_wait = "50ms" }}
[ledger]
interval = "100ms"
"""
TCP = 'type = "tcp"\nlisten = "127.0.0.1:0"'
COSTS = {
    "raise": "exception", "nonsense": "bad_result", "huge": "memory", "hang": "timeout",
    "exit": "worker_died",
    "crash": "worker_died", "kill": "worker_died", "close": "worker_died", "junk": "bad_result",
    "bad_state": "bad_state",
}  # fmt: skip
"""The reason of the reject, for each deed that is one."""
HARMLESS = ["leak", "leak", "leak", "leak", "close_0_1", "fork"]


@pytest.mark.parametrize("options", ["", 'concurrency = 3\npartition_by = ["k"]'], ids=["one", "by key"])
def test_whatever_a_record_makes_a_class_do_costs_that_record_alone(
    start: Callable[..., Any], tmp_path: Path, options: str
) -> None:
    source = CLASS.replace("def process(self", "def batch(self")
    (tmp_path / "steps.py").write_text(source)
    daemon = start(CONFIG.format(name="Counts", options=options, source=TCP))
    deeds = {20 * n + 7: deed for n, deed in enumerate([*COSTS, *HARMLESS])}
    total = 20 * (len(deeds) + 1)
    sent = [{"n": n, "k": f"k{n % 6}", "do": deeds.get(n)} for n in range(total)]
    daemon.tcp(b"".join(json.dumps(record).encode() + b"\n" for record in sent))
    daemon.stop()
    stored = [json.loads(row) for (row,) in daemon.query("SELECT record FROM records ORDER BY rowid")]
    reasons = {json.loads(payload)["n"]: reason for _, reason, payload in daemon.dead_letters("floor")}
    assert reasons == {n: COSTS[deed] for n, deed in deeds.items() if deed in COSTS}
    assert [record["n"] for record in stored] == [n for n in range(total) if n not in reasons]
    expected: Counter[str] = Counter()
    for record in stored:
        expected[record["k"]] += 1
        assert record["count"] == expected[record["k"]], record


def reached(daemon: Any, n: int) -> bool:
    return (daemon.query("SELECT max(record ->> 'n') FROM records")[0][0] or 0) >= n


def test_a_state_in_processes_goes_on_exactly_after_a_crash_of_the_daemon_and_with_other_options(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    (tmp_path / "steps.py").write_text(CLASS.replace("def __call__(", "def single("))
    log = tmp_path / "log.jsonl"
    log.touch()
    source = f'type = "file"\npath = "{log}"'
    ways = [
        "", 'concurrency = 2\npartition_by = ["k"]',
        'concurrency = 3\npartition_by = ["k"]\nmax_batches = 3', "",
    ]  # fmt: skip
    small = "[daemon]\nmax_batch = 50\n"  # the search in a batch finds at least two records that kill
    written = 0
    for turn, options in enumerate(ways):
        daemon = start(small + CONFIG.format(name="Counts", options=options, source=source))
        for part in range(2):
            with log.open("a") as file:
                for n in range(written, written + 50):
                    do = "kill" if n % 70 == 33 else "reject" if n % 70 == 50 else None
                    file.write(json.dumps({"n": n, "k": f"k{n % 7}", "do": do}) + "\n")
            written += 50
            if part < 1:
                wait_until(partial(reached, daemon, written - 3), "the records")
        if turn % 2:
            daemon.stop()
        else:
            daemon.process.kill()
            daemon.process.wait()
    daemon = start(small + CONFIG.format(name="Counts", options=ways[0], source=source))
    wait_until(partial(reached, daemon, written - 1), "the last record")
    daemon.stop()
    stored: dict[int, int] = {}
    for (row,) in daemon.query("SELECT record FROM records ORDER BY rowid"):
        record = json.loads(row)
        before = stored.setdefault(record["n"], record["count"])
        assert before == record["count"], "a record that was read again has the same result"
    expected: Counter[str] = Counter()
    counts = {}
    for n in range(written):
        if n % 70 != 33:
            expected[f"k{n % 7}"] += 1
            if n % 70 != 50:
                counts[n] = expected[f"k{n % 7}"]
    assert dict(sorted(stored.items())) == counts


TOTALS = """
class Totals:
    def open(self, context):
        self.state = context.state

    def process(self, records):
        for record in records:
            state = self.state[record["k"]]
            state["n"] = state.get("n", 0) + 1
        return []

    def tick(self, now):
        return [{"k": key, "total": self.state.pop(key)["n"]} for key in list(self.state)]
"""


@pytest.mark.parametrize("options", ["", 'concurrency = 2\npartition_by = ["k"]'], ids=["one", "by key"])
def test_what_a_class_keeps_is_emitted_by_its_ticks_though_its_processes_are_killed(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], options: str
) -> None:
    (tmp_path / "steps.py").write_text(TOTALS)
    options += '\ntick_every = "300ms"\nmax_batches = 2'
    daemon = start(CONFIG.format(name="Totals", options=options, source=TCP))
    for _ in range(4):
        daemon.tcp(b"".join(b'{"k":"k%d"}\n' % (n % 5) for n in range(100)))
    total = "SELECT sum(record ->> 'total') FROM records"
    wait_until(lambda: daemon.query(total)[0][0] == 400, "all totals")
    daemon.stop()
    books = daemon.books()
    assert books["floor", "main", "", "absorbed"] == 400
