"""TCP into a typed table by wall clock, compared with a plain Python program that does the same work."""

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from streamd.bench.child import Child, thread_cpu_s
from streamd.bench.daemon import BenchDaemon, Setup
from streamd.bench.plan import Plan
from streamd.bench.prepared_sender import prepare
from streamd.bench.row import BenchError, Row
from streamd.core.plural import counted

_CONNECTIONS = 4
_MAX_WAIT_S = 0.02
"""Short, so that the last records do not wait for a full batch. Under load, batches are full anyway."""
_LOOK_S = 0.01
"""A run takes a second or two, so this interval is exact to about a hundredth."""
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the daemon, and the plain program that follows it. Rates are in records a second."""

    records_per_s: float
    baseline_per_s: float
    cpu_s: float
    loop_cpu_s: float
    """The part of `cpu_s` used by the thread of the event loop."""
    wall_s: float
    sender_cpu_s: float
    file_bytes: int
    """The size of the database after the stop."""


def typed(plan: Plan) -> list[Row]:
    """With a schema: the records that one process commits in a second while the sender never pauses."""
    runs = []
    with plan.folder() as folder:
        lines = folder / "lines"
        prepare(lines, plan.tcp_records)
        for number in range(1, plan.tcp_repeats + 1):
            plan.step(f"tcp_wall: run {number} of {plan.tcp_repeats}, then its baseline")
            runs.append(_run(plan, lines))
    millions = plan.tcp_records / 1e6

    def median(name: str) -> float:
        return float(statistics.median(getattr(run, name) for run in runs))

    busy = statistics.median(run.cpu_s / run.wall_s for run in runs)
    loop, others = median("loop_cpu_s"), statistics.median(run.cpu_s - run.loop_cpu_s for run in runs)
    return [
        Row(
            name="tcp_wall",
            what=f"TCP, {plan.tcp_records:,} JSON lines → typed table, by the wall clock",
            value=median("records_per_s"),
            unit="records/s",
            note=f"from the first byte sent to the last record committed; {_CONNECTIONS} connections;"
            f" {busy:.2f} cores busy with {median('cpu_s') / millions:.2f} CPU s/M, {loop / millions:.2f} of"
            f" it the loop and {others / millions:.2f} the database's thread; the sender took"
            f" {median('sender_cpu_s') / millions:.2f}; "
            f"medians of {counted(len(runs), 'run')}, the baseline after each",
            baseline=median("baseline_per_s"),
            baseline_what="one thread that reads the lines from memory: json.loads, then executemany,"
            " 10,000 a transaction",
            details={
                "records": plan.tcp_records,
                "row_bytes": median("file_bytes") / plan.tcp_records,
                "runs": [asdict(run) for run in runs],
            },
        )
    ]


def _run(plan: Plan, lines: Path) -> Run:
    count = plan.tcp_records
    with plan.folder() as folder:
        with BenchDaemon(folder, Setup(typed=True, max_wait_s=_MAX_WAIT_S)) as daemon:
            loop_before_s = thread_cpu_s(daemon.pid)
            arguments = (str(daemon.port), str(lines), str(_CONNECTIONS))
            with Child(folder, "streamd.bench.prepared_sender", *arguments) as sender:
                seen_s = daemon.wait_for_rows(count, sender, look_s=_LOOK_S)
                cpu_s, loop_s = daemon.cpu_s, thread_cpu_s(daemon.pid) - loop_before_s
                sender.wait(_PATIENCE_S)
                sent = json.loads(sender.out)
            daemon.stop().check_complete(count)
            file_bytes = daemon.database.stat().st_size
        rows = (str(daemon.database), daemon.setup.table, str(folder / "baseline.db"), "lines")
        with Child(folder, "streamd.bench.executemany", *rows) as bare:
            bare.wait(_PATIENCE_S)
            found = json.loads(bare.out)
    if found["rows"] != count:
        raise BenchError(f"the baseline wrote {found['rows']} of {count} rows")
    wall_s = seen_s - sent["started_at"]
    rates = (count / wall_s, count / found["wall_s"])
    return Run(*rates, cpu_s, loop_s, wall_s, sent["cpu_s"], file_bytes)
