"""TCP into a typed table with two processes, compared with one."""

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from streamd.bench.child import Child, family_cpu_s
from streamd.bench.daemon import BenchDaemon, Setup
from streamd.bench.plan import Plan
from streamd.bench.prepared_sender import prepare
from streamd.bench.row import Row
from streamd.core.plural import counted

GOAL_RATIO = 1.7
PROCESSES = 2
_CONNECTIONS = 16
"""Half of them for each process."""
_MAX_WAIT_S = 0.02
_LOOK_S = 0.01
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class CoresRun:
    """One run with one process, and one with several."""

    one_per_s: float
    one_cpu_s: float
    several_per_s: float
    several_cpu_s: float


def measure(plan: Plan) -> list[Row]:
    """The records that two processes commit a second while the sender never pauses."""
    runs = []
    with plan.folder() as folder:
        lines = folder / "lines"
        prepare(lines, plan.tcp_records)
        for number in range(1, plan.tcp_repeats + 1):
            plan.step(f"tcp_cores: run {number} of {plan.tcp_repeats}, with one process and with {PROCESSES}")
            runs.append(CoresRun(*_run(plan, lines, 1), *_run(plan, lines, PROCESSES)))
    millions = plan.tcp_records / 1e6
    one = statistics.median(run.one_per_s for run in runs)
    several = statistics.median(run.several_per_s for run in runs)
    one_cpu_s = statistics.median(run.one_cpu_s for run in runs) / millions
    several_cpu_s = statistics.median(run.several_cpu_s for run in runs) / millions
    return [
        Row(
            name="tcp_cores",
            what=f"TCP, {plan.tcp_records:,} JSON lines → typed table, {PROCESSES} processes",
            value=several,
            unit="records/s",
            note=f"{_CONNECTIONS} connections; {several_cpu_s:.2f}"
            f" CPU s/M in all processes, {one_cpu_s:.2f} in one; "
            f"medians of {counted(len(runs), 'run')}, taken in turn",
            baseline=one,
            baseline_what="the same with one process",
            goal=f"ratio ≥ {GOAL_RATIO}",
            reached=several / one >= GOAL_RATIO if plan.judge else None,
            details={
                "records": plan.tcp_records,
                "processes": PROCESSES,
                "runs": [asdict(run) for run in runs],
            },
        )
    ]


def _run(plan: Plan, lines: Path, processes: int) -> tuple[float, float]:
    """The records committed a second, and the CPU seconds of all processes."""
    count = plan.tcp_records
    with (
        plan.folder() as folder,
        BenchDaemon(folder, Setup(typed=True, max_wait_s=_MAX_WAIT_S, processes=processes)) as daemon,
    ):
        daemon.wait_ready()
        before_s = family_cpu_s(daemon.pid)
        arguments = (str(daemon.port), str(lines), str(_CONNECTIONS))
        with Child(folder, "streamd.bench.prepared_sender", *arguments) as sender:
            seen_s = daemon.wait_for_rows(count, sender, look_s=_LOOK_S)
            used_s = family_cpu_s(daemon.pid) - before_s
            sender.wait(_PATIENCE_S)
            sent = json.loads(sender.out)
        daemon.stop().check_complete(count)
    return count / (seen_s - sent["started_at"]), used_s
