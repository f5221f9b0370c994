"""An edge, a cluster of JetStream, workers and PostgreSQL on one machine: the CPU time of each part."""

import statistics
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from streamd.bench.child import free_port
from streamd.bench.jetstream import (
    CONNECTIONS,
    EDGE,
    WORKER,
    ChainDaemon,
    ChainRun,
    check_seqs,
    wait_stored,
)
from streamd.bench.nats_server import TemporaryNatsCluster, program
from streamd.bench.plan import Plan
from streamd.bench.postgresql import SERVER
from streamd.bench.postgresql_server import TemporaryPostgresql, postgresql_in
from streamd.bench.row import Row, SkippedError
from streamd.bench.sending import Sender
from streamd.core.plural import counted

REPLICAS = 3
WORKERS = 2
_STORE = 'type = "postgresql"\naddress = "{socket}"\ndatabase = "postgres"\nuser = "postgres"'


def measure(plan: Plan) -> list[Row]:
    """One row. Raises `SkippedError` and `BenchError`."""
    program()
    try:
        import psycopg  # noqa: F401, PLC0415 - only to know whether it is there
    except ImportError:
        raise SkippedError("psycopg is not installed: pip install 'streamd-daemon[postgresql]'") from None
    runs = []
    for number in range(1, plan.chain_repeats + 1):
        plan.step(f"jetstream_cluster: run {number} of {plan.chain_repeats}")
        runs.append(_run(plan))
    millions = plan.chain_records / 1e6
    edge, servers, workers, store = (
        statistics.median(getattr(run, part) for run in runs) / millions
        for part in ("edge_cpu_s", "jetstream_cpu_s", "worker_cpu_s", "postgresql_cpu_s")
    )
    rate = statistics.median(run.records_per_s for run in runs)
    return [
        Row(
            name="jetstream_cluster",
            what=f"TCP, {plan.chain_records:,} JSON lines → edge → JetStream ({REPLICAS} replicas)"
            f" → {WORKERS} workers → PostgreSQL",
            value=edge + servers + workers + store,
            unit="CPU s/M",
            note=f"edge {edge:.2f}, {REPLICAS} nats-servers {servers:.2f}, workers {workers:.2f}, PostgreSQL"
            f" {store:.2f} CPU s/M; {rate:,.0f} records/s with everything on one machine; 8 partitions;"
            f" medians of {counted(len(runs), 'run')}",
            details={
                "records": plan.chain_records,
                "replicas": REPLICAS,
                "store": "postgresql",
                "runs": [asdict(run) for run in runs],
            },
        )
    ]


def _run(plan: Plan) -> ChainRun:
    count, port = plan.chain_records, free_port()
    with ExitStack() as stack:
        folder = stack.enter_context(plan.folder())
        table = stack.enter_context(postgresql_in(plan.parent, *SERVER))
        servers = stack.enter_context(TemporaryNatsCluster(folder, REPLICAS))
        edge = stack.enter_context(
            ChainDaemon(folder / "edge", EDGE, servers.ports, port=port, replicas=REPLICAS)
        )
        store = _STORE.format(socket=table.socket)
        workers = [
            stack.enter_context(
                ChainDaemon(folder / f"worker{n}", WORKER, servers.ports, steps="", store=store)
            )
            for n in range(WORKERS)
        ]
        before_s = table.cpu_s
        sender = stack.enter_context(Sender(folder, port, count, f"--connections={CONNECTIONS}"))
        ended_s = wait_stored(workers, count)
        run = ChainRun(
            edge.cpu_s,
            servers.cpu_s,
            sum(worker.cpu_s for worker in workers),
            count / (ended_s - sender.summary()["started_at"]),
            table.cpu_s - before_s,
        )
        for daemon in (edge, *workers):
            daemon.stop()
        check_seqs(_seqs(table), count)
    return run


def _seqs(server: TemporaryPostgresql) -> list[int]:
    import psycopg  # noqa: PLC0415 - it is there

    login: dict[str, Any] = {"host": str(server.folder), "port": str(server.port), "user": "postgres"}
    with psycopg.connect(**login, dbname="postgres") as connection:
        return [int(seq) for (seq,) in connection.execute("SELECT seq FROM readings")]
