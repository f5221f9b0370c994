"""TCP into SQLite at full speed, compared with a bare `executemany` loop."""

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from streamd.bench.child import Child
from streamd.bench.daemon import BenchDaemon, Setup
from streamd.bench.executemany import Kind
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, Row
from streamd.bench.sending import Sender
from streamd.core.plural import counted

GOAL_RATIO = 1.3
_CONNECTIONS = 4
_BASELINE_S = 300.0


@dataclass(frozen=True, slots=True)
class TcpRun:
    """One run of the daemon, and the baseline that follows it."""

    cpu_s: float
    records_per_s: float
    baseline_cpu_s: float


def run(plan: Plan, setup: Setup) -> TcpRun:
    """Send, wait until every record is committed, check them, and run the baseline."""
    count = plan.tcp_records
    with plan.folder() as folder:
        daemon, used_s, records_per_s = sent(folder, setup, count)
        kind: Kind = "parsed" if setup.typed else "stored"
        return TcpRun(used_s, records_per_s, baseline_cpu_s(folder, daemon, count, kind))


def sent(folder: Path, setup: Setup, count: int) -> tuple[BenchDaemon, float, float]:
    """Send to a daemon until every record is committed, and check them.

    Returns the stopped daemon, its CPU seconds, and the records committed a second.
    """
    with BenchDaemon(folder, setup) as daemon:
        with Sender(folder, daemon.port, count, f"--connections={_CONNECTIONS}") as sender:
            seen_s = daemon.wait_for_rows(count, sender)
            used_s = daemon.cpu_s
            started_s = sender.summary()["started_at"]
        daemon.stop().check_complete(count)
    return daemon, used_s, count / (seen_s - started_s)


def baseline_cpu_s(folder: Path, daemon: BenchDaemon, rows: int, kind: Kind) -> float:
    """CPU seconds of the bare loop that writes as many rows as the stopped daemon."""
    arguments = (str(daemon.database), daemon.setup.table, str(folder / "baseline.db"), kind)
    with Child(folder, "streamd.bench.executemany", *arguments) as bare:
        bare.wait(_BASELINE_S)
        found = json.loads(bare.out)
    if found["rows"] != rows:
        raise BenchError(f"the baseline wrote {found['rows']} of {rows} rows")
    return float(found["cpu_s"])


def typed(plan: Plan) -> list[Row]:
    """With a schema: typed decoding and typed columns."""
    row = _row(plan, Setup(typed=True), "tcp_typed", "typed table (schema)")
    row.baseline_what = "executemany of the same rows, already parsed, 10,000 a transaction"
    row.goal = f"ratio ≤ {GOAL_RATIO}"
    if plan.judge:
        row.reached = (row.ratio or 0.0) <= GOAL_RATIO
    return [row]


def plain(plan: Plan) -> list[Row]:
    """Without a schema: a catch-all table, which stores each record as JSON."""
    row = _row(plan, Setup(typed=False), "tcp_plain", "catch-all table (no schema)")
    row.baseline_what = "executemany of the rows it stored, 10,000 a transaction"
    return [row]


def _row(plan: Plan, setup: Setup, name: str, what: str) -> Row:
    runs = []
    for number in range(1, plan.tcp_repeats + 1):
        plan.step(f"{name}: run {number} of {plan.tcp_repeats}, then its baseline")
        runs.append(run(plan, setup))
    millions = plan.tcp_records / 1e6
    return Row(
        name=name,
        what=f"TCP, {plan.tcp_records:,} JSON lines → {what}",
        value=statistics.median(one.cpu_s for one in runs) / millions,
        unit="CPU s/M",
        note=f"{statistics.median(one.records_per_s for one in runs):,.0f} records/s;"
        f" {_CONNECTIONS} connections; medians of {counted(len(runs), 'run')}, the baseline after each",
        baseline=statistics.median(one.baseline_cpu_s for one in runs) / millions,
        details={"records": plan.tcp_records, "runs": [asdict(one) for one in runs]},
    )
