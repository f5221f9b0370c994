"""UDP of many senders into a typed table with two processes, compared with one."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from streamd.bench.child import Child, family_cpu_s
from streamd.bench.daemon import BenchDaemon, Setup
from streamd.bench.plan import Plan
from streamd.bench.prepared_sender import prepare
from streamd.bench.row import BenchError, Row

PROCESSES = 2
SENDERS = 20
_LOST_S = 3.0
"""Datagrams not committed this long after the last commit and the sender's end count as lost."""
_PATIENCE_S = 120.0
_BY_RUN = "SELECT sum(n) FROM ledger WHERE counter = 'received' AND source = 'udp' GROUP BY run_id"


@dataclass(frozen=True, slots=True)
class UdpCoresRun:
    """One run."""

    sent: int
    sent_per_s: float
    stored: int
    kernel_dropped: int
    cpu_s: float
    most: float
    """The part of the received datagrams that the busiest process has read."""


def measure(plan: Plan) -> list[Row]:
    """Loss and CPU at a steady rate."""
    with plan.folder() as folder:
        lines = folder / "lines"
        count = int(plan.udp_rate * plan.udp_steady_s)
        prepare(lines, count)
        runs = {}
        for processes in (1, PROCESSES):
            plan.step(f"udp_cores: {plan.udp_rate:,}/s, processes = {processes}")
            runs[processes] = _run(plan, lines, count, processes)
    one, several = runs[1], runs[PROCESSES]
    return [
        Row(
            name="udp_cores",
            what=f"UDP, {plan.udp_rate:,} datagrams/s of {SENDERS} senders → typed table,"
            f" {PROCESSES} processes",
            value=several.cpu_s / several.stored * 1e6,
            unit="CPU s/M",
            note=f"{several.sent - several.stored:,} of {count:,} lost, with one process"
            f" {one.sent - one.stored:,}; the kernel gave one of them {several.most:.0%} of the datagrams;"
            f" sent at {several.sent_per_s:,.0f}/s",
            baseline=one.cpu_s / one.stored * 1e6,
            baseline_what="the same with one process",
            goal="0 lost",
            reached=several.stored == count if plan.judge else None,
            details={"processes": PROCESSES, "one": asdict(one), "several": asdict(several)},
        )
    ]


def _run(plan: Plan, lines: Path, count: int, processes: int) -> UdpCoresRun:
    """Raises `BenchError` if a datagram has no fate in the books."""
    with plan.folder() as folder, BenchDaemon(folder, Setup(processes=processes)) as daemon:
        daemon.wait_ready()
        before_s = family_cpu_s(daemon.pid)
        arguments = (str(daemon.port), str(lines), str(SENDERS), str(plan.udp_rate))
        with Child(folder, "streamd.bench.prepared_datagrams", *arguments) as sender:
            daemon.wait_for_rows(count, sender, _LOST_S)
            used_s = family_cpu_s(daemon.pid) - before_s
            sender.wait(_PATIENCE_S)
            summary = json.loads(sender.out)
        stopped = daemon.stop()
        with daemon.reader() as connection:
            received = [n for (n,) in connection.execute(_BY_RUN)]
    kernel_dropped = stopped.total("kernel_dropped")
    if stopped.rows + stopped.total("dropped") + kernel_dropped != count or stopped.distinct != stopped.rows:
        raise BenchError(
            f"of {count} datagrams {stopped.rows} were stored ({stopped.distinct} of them distinct),"
            f" {stopped.total('dropped')} dropped and {kernel_dropped} dropped by the kernel"
        )
    if not stopped.rows:
        raise BenchError(f"none of {count} datagrams was stored")
    most = max(received) / sum(received)
    return UdpCoresRun(count, summary["rate"], stopped.rows, kernel_dropped, used_s, most)
