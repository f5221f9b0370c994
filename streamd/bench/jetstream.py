"""An edge, a JetStream server and workers on one machine: records a second, and the CPU time of each part."""

import signal
import sqlite3
import statistics
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from streamd.bench.child import free_port
from streamd.bench.daemon import SCHEMA
from streamd.bench.nats_server import TemporaryNats, program
from streamd.bench.plan import Plan
from streamd.bench.ready_child import ReadyChild, fetch
from streamd.bench.row import BenchError, Row
from streamd.bench.sending import Sender

GOALWORKERS = 1.8
CONNECTIONS = 4
BUSY_US = 20
_START_S = 60.0
_STALL_S = 60.0
_STOP_S = 60.0
_LOOK_S = 0.05
_HEAD = """
[daemon]
state_dir = "{folder}"
[log]
level = "warning"
[admin]
listen = "127.0.0.1:{admin}"
"""
EDGE = """
[sources.readings]
type = "tcp"
listen = "127.0.0.1:{port}"
codec = "json"
[pipelines.bench]
sources = ["readings"]
sinks = ["bench"]
[sinks.bench]
type = "nats"
servers = {nats}
stream = "readings"
subject = "readings.{{partition}}"
partitions = 8
partition_by = ["sensor"]
create = {{ max_bytes = "8GiB", replicas = {replicas} }}
"""
WORKER = """
[sources.readings]
type = "nats"
servers = {nats}
stream = "readings"
consumer = "workers"
codec = "json"
schema = "reading"
[pipelines.bench]
sources = ["readings"]
sinks = ["bench"]
{steps}
[sinks.bench]
{store}
table = "readings"
schema = "reading"
"""
_SQLITE = 'type = "sqlite"'
_BUSY = f"""
import time

def busy(record):
    end_s = time.thread_time() + {BUSY_US}e-6
    while time.thread_time() < end_s:
        pass
    return record
"""


@dataclass(frozen=True, slots=True)
class ChainRun:
    """One run through the whole chain."""

    edge_cpu_s: float
    jetstream_cpu_s: float
    worker_cpu_s: float
    records_per_s: float
    postgresql_cpu_s: float = 0.0


class ChainDaemon(ReadyChild):
    """`streamd run` in a folder of its own."""

    def __init__(self, folder: Path, config: str, nats: list[int], **more: Any) -> None:
        """`nats`: the ports of the servers. `more`: what else stands in braces in `config`."""
        folder.mkdir()
        self.folder = folder
        self.admin_port = free_port()
        servers = [f"127.0.0.1:{port}" for port in nats]
        text = (_HEAD + SCHEMA + config).format(folder=folder, admin=self.admin_port, nats=servers, **more)
        (folder / "streamd.toml").write_text(text)
        (folder / "steps.py").write_text(_BUSY)
        super().__init__(
            folder, "streamd", "run", "--config", str(folder / "streamd.toml"),
            ready=lambda: fetch(self.admin_port, "readyz"), within_s=_START_S, look_s=_LOOK_S,
        )  # fmt: skip

    def stored(self) -> int:
        """How many records its sink has stored."""
        lines = fetch(self.admin_port, "metrics").decode().splitlines()
        return sum(
            int(float(line.rpartition(" ")[2]))
            for line in lines
            if line.startswith("streamd_deliveries_stored_total{")
        )

    def stop(self) -> None:
        """Stop it with SIGTERM. Raises `BenchError` unless its books balance."""
        self.process.send_signal(signal.SIGTERM)
        self.wait(_STOP_S)
        if "books balance" not in self.err:
            raise self.failure("ended, and its books do not balance")


def measure(plan: Plan) -> list[Row]:
    """The whole chain, and two workers beside one. Raises `SkippedError` and `BenchError`."""
    program()
    return [_chain(plan), _workers(plan)]


def _chain(plan: Plan) -> Row:
    runs = []
    for number in range(1, plan.chain_repeats + 1):
        plan.step(f"jetstream: run {number} of {plan.chain_repeats}")
        with plan.folder() as folder:
            runs.append(_through_the_chain(folder, plan.chain_records))
    millions = plan.chain_records / 1e6
    edge, server, worker = (
        statistics.median(getattr(one, part) for one in runs) / millions
        for part in ("edge_cpu_s", "jetstream_cpu_s", "worker_cpu_s")
    )
    return Row(
        name="jetstream",
        what=f"TCP, {plan.chain_records:,} JSON lines → edge → JetStream → worker → typed table",
        value=edge + server + worker,
        unit="CPU s/M",
        note=f"edge {edge:.2f}, nats-server {server:.2f} (one replica), worker {worker:.2f} CPU s/M;"
        f" {statistics.median(one.records_per_s for one in runs):,.0f} records/s with the sender on the same"
        f" machine; 8 partitions, one worker, SQLite; medians of {len(runs)} runs",
        details={
            "records": plan.chain_records,
            "replicas": 1,
            "store": "sqlite",
            "runs": [asdict(one) for one in runs],
        },
    )


def _through_the_chain(folder: Path, count: int) -> ChainRun:
    port = free_port()
    with (
        TemporaryNats(folder) as server,
        ChainDaemon(folder / "edge", EDGE, [server.port], port=port, replicas=1) as edge,
        ChainDaemon(folder / "worker", WORKER, [server.port], steps="", store=_SQLITE) as worker,
        Sender(folder, port, count, f"--connections={CONNECTIONS}") as sender,
    ):
        ended_s = wait_stored([worker], count)
        run = ChainRun(
            edge.cpu_s,
            server.cpu_s,
            worker.cpu_s,
            count / (ended_s - sender.summary()["started_at"]),
        )
        edge.stop()
        worker.stop()
        _check([worker], count)
    return run


def _workers(plan: Plan) -> Row:
    """Workers with a step that takes CPU time, on a stream that holds all records already."""
    rates = {}
    for workers in (1, 2):
        plan.step(f"jetstream_workers: {workers}")
        with plan.folder() as folder:
            rates[workers] = _drained(folder, plan.busy_records, workers)
    ratio = rates[2] / rates[1]
    return Row(
        name="jetstream_workers",
        what=f"Two workers with a step of {BUSY_US} µs read a stream of {plan.busy_records:,} records",
        value=rates[2],
        unit="records/s",
        note="each into a SQLite file of its own",
        baseline=rates[1],
        baseline_what="one worker",
        goal=f"ratio ≥ {GOALWORKERS}",
        reached=ratio >= GOALWORKERS if plan.judge else None,
        details={"records": plan.busy_records, "records_per_s": rates},
    )


def _drained(folder: Path, count: int, workers: int) -> float:
    """Records a second of all workers together, which are stopped while the stream is filled."""
    steps = 'steps = [{ type = "python", function = "steps.py:busy" }]'
    port = free_port()
    with TemporaryNats(folder) as server, ExitStack() as stack:
        edge = stack.enter_context(ChainDaemon(folder / "edge", EDGE, [server.port], port=port, replicas=1))
        running = [
            stack.enter_context(
                ChainDaemon(folder / f"worker{n}", WORKER, [server.port], steps=steps, store=_SQLITE)
            )
            for n in range(workers)
        ]
        for worker in running:
            worker.process.send_signal(signal.SIGSTOP)
        with Sender(folder, port, count, f"--connections={CONNECTIONS}"):
            wait_stored([edge], count)
        edge.stop()
        began_s = time.time()
        for worker in running:
            worker.process.send_signal(signal.SIGCONT)
        ended_s = wait_stored(running, count)
        for worker in running:
            worker.stop()
        _check(running, count)
    return count / (ended_s - began_s)


def wait_stored(daemons: list[ChainDaemon], count: int) -> float:
    """Wait until the daemons have stored `count` records together. Returns the wall time of that."""
    stored, changed_s = 0, time.monotonic()
    while True:
        found = sum(map(ChainDaemon.stored, daemons))
        if found >= count:
            return time.time()
        if found != stored:
            stored, changed_s = found, time.monotonic()
        for daemon in daemons:
            if not daemon.running():
                raise daemon.failure("ended without a signal")
        if time.monotonic() - changed_s > _STALL_S:
            raise BenchError(f"{found} of {count} records are stored, and no more for {_STALL_S:.0f} s")
        time.sleep(_LOOK_S)


def _check(workers: list[ChainDaemon], count: int) -> None:
    """Raises `BenchError` unless the workers have each record of the sender once."""
    found: list[int] = []
    for worker in workers:
        with closing(sqlite3.connect(worker.folder / "streamd.db")) as connection:
            found += [seq for (seq,) in connection.execute("SELECT seq FROM readings")]
    check_seqs(found, count)


def check_seqs(found: list[int], count: int) -> None:
    """Raises `BenchError` unless each record of the sender is there once."""
    if sorted(found) != list(range(1, count + 1)):
        raise BenchError(f"{count} sent; {len(found)} rows, {len(set(found))} different ones")
