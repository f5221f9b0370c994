"""Syslog over TCP into a typed table, compared with a bare `executemany` loop of the same rows."""

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from streamd.bench.child import Child
from streamd.bench.codec_cases import syslog
from streamd.bench.daemon import BenchDaemon, Setup
from streamd.bench.plan import Plan
from streamd.bench.row import Row
from streamd.bench.tcp import baseline_cpu_s
from streamd.core.plural import counted

GOAL_CPU_S_PER_M = 4.0
_CONNECTIONS = 4
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class SyslogRun:
    """One run of the daemon, and the baseline that follows it."""

    cpu_s: float
    records_per_s: float
    baseline_cpu_s: float


def typed(plan: Plan) -> list[Row]:
    """With the schema that the codec brings: the CPU time for a million messages of RFC 5424."""
    runs = []
    count = plan.tcp_records
    with plan.folder() as folder:
        lines = folder / "lines"
        with lines.open("wb") as out:
            out.writelines(syslog(number) + b"\n" for number in range(1, count + 1))
        for number in range(1, plan.tcp_repeats + 1):
            plan.step(f"tcp_syslog: run {number} of {plan.tcp_repeats}, then its baseline")
            runs.append(_run(plan, lines))
    millions = count / 1e6
    cpu_s_per_m = statistics.median(run.cpu_s for run in runs) / millions
    return [
        Row(
            name="tcp_syslog",
            what=f"TCP, {count:,} syslog messages (RFC 5424) → typed table",
            value=cpu_s_per_m,
            unit="CPU s/M",
            note=f"{statistics.median(run.records_per_s for run in runs):,.0f} records/s from the first byte"
            f" sent to the last record committed; {_CONNECTIONS} connections; medians of"
            f" {counted(len(runs), 'run')}, the baseline after each",
            baseline=statistics.median(run.baseline_cpu_s for run in runs) / millions,
            baseline_what="executemany of the rows it stored, 10,000 a transaction",
            goal=f"≤ {GOAL_CPU_S_PER_M:g} CPU s/M",
            reached=cpu_s_per_m <= GOAL_CPU_S_PER_M if plan.judge else None,
            details={"records": count, "runs": [asdict(run) for run in runs]},
        )
    ]


def _run(plan: Plan, lines: Path) -> SyslogRun:
    count = plan.tcp_records
    with plan.folder() as folder:
        with BenchDaemon(folder, Setup(codec="syslog")) as daemon:
            arguments = (str(daemon.port), str(lines), str(_CONNECTIONS))
            with Child(folder, "streamd.bench.prepared_sender", *arguments) as sender:
                seen_s = daemon.wait_for_rows(count, sender)
                used_s = daemon.cpu_s
                sender.wait(_PATIENCE_S)
                started_s = json.loads(sender.out)["started_at"]
            daemon.stop().check_complete(count)
        return SyslogRun(
            used_s, count / (seen_s - started_s), baseline_cpu_s(folder, daemon, count, "stored")
        )
