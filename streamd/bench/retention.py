"""The cost of retention for writers: the latency while a row is deleted for each new one, and without."""

import sqlite3
import statistics
import time
from dataclasses import asdict, dataclass

from streamd.bench.daemon import BenchDaemon, Setup
from streamd.bench.latency import RATE, quantile, under_load
from streamd.bench.plan import MIB, Plan
from streamd.bench.row import BenchError, Row
from streamd.bench.sending import Sender

GOAL_RATIO = 3.0
_MAX_WAIT_S = 0.02
"""A tenth of the default, because the batch's own wait would hide the delay that deleting adds."""
_QUIET_S = 0.6
"""Retention runs every quarter of a second. If it deletes nothing for this time, the limit is met."""
_PATIENCE_S = 60.0
_LEAST_SHARE = 0.5
"""The share of the new rows for which an old row must be deleted before the last commit."""


@dataclass(frozen=True, slots=True)
class RetentionRun:
    """Latencies of one daemon, and the rows deleted while they were measured."""

    p50_ms: float
    p99_ms: float
    worst_ms: float
    expired: int


def measure(plan: Plan) -> list[Row]:
    """The p99 with a file at its limit, compared in turn with a daemon without a limit."""
    count, max_bytes = plan.retention_records, plan.retention_bytes
    least = int(count * _LEAST_SHARE) if plan.judge else 1
    free, bound = [], []
    for number in range(1, plan.retention_repeats + 1):
        plan.step(f"retention: run {number} of {plan.retention_repeats}, after its baseline")
        free.append(_run(plan, None))
        bound.append(_run(plan, max_bytes))
        if free[-1].expired or bound[-1].expired < least:
            raise BenchError(
                f"{bound[-1].expired} rows were deleted while {count} were stored,"
                f" {free[-1].expired} without a limit"
            )
    p99_ms, free_p99_ms = (statistics.median(run.p99_ms for run in runs) for runs in (bound, free))
    p50_ms, free_p50_ms = (statistics.median(run.p50_ms for run in runs) for runs in (bound, free))
    worst_ms, free_worst_ms = (max(run.worst_ms for run in runs) for runs in (bound, free))
    expired = min(run.expired for run in bound)
    return [
        Row(
            name="retention",
            what=f"Send to committed at {RATE:,}/s, p99, file at max_size",
            value=p99_ms,
            unit="ms",
            note=f"at least {expired:,} rows deleted while {count:,} were stored,"
            f" file of {max_bytes // MIB} MiB;"
            f" p50 {p50_ms:.0f} (baseline {free_p50_ms:.0f}), worst {worst_ms:.0f} ({free_worst_ms:.0f}) ms;"
            f" max_wait {_MAX_WAIT_S * 1000:.0f} ms; medians of {len(bound)} runs in turn; upper bounds as"
            " for latency",
            baseline=free_p99_ms,
            baseline_what="the same table without retention",
            goal=f"ratio ≤ {GOAL_RATIO:.0f}",
            reached=p99_ms / free_p99_ms <= GOAL_RATIO if plan.judge else None,
            details={
                "records": count,
                "max_bytes": max_bytes,
                "with": [asdict(run) for run in bound],
                "without": [asdict(run) for run in free],
            },
        )
    ]


def _run(plan: Plan, max_bytes: int | None) -> RetentionRun:
    """Fill the table beyond the limit, wait until the file is within it, and measure."""
    filled, count = plan.retention_filled, plan.retention_records
    setup = Setup(max_wait_s=_MAX_WAIT_S, max_bytes=max_bytes)
    with plan.folder() as folder, BenchDaemon(folder, setup) as daemon:
        with Sender(folder, daemon.port, filled) as sender:
            daemon.wait_for_rows(filled, sender)
            sender.summary()
        with daemon.reader() as connection:
            before = _settled(connection)
            if max_bytes and not before:
                raise BenchError(f"{filled} records did not fill {max_bytes} bytes")
            found, _ = under_load(folder, daemon, connection, count, filled)
            expired = _expired(connection) - before
        stopped = daemon.stop()
    if stopped.total("stored") != filled + count:
        raise BenchError(f"{filled + count} sent, {stopped.total('stored')} stored")
    p50_ms, p99_ms, worst_ms = (quantile(found, share) * 1000 for share in (0.5, 0.99, 1))
    return RetentionRun(p50_ms, p99_ms, worst_ms, expired)


def _settled(connection: sqlite3.Connection) -> int:
    """The number of rows deleted in all, after no row has been deleted for a while."""
    expired = _expired(connection)
    changed_s = begun_s = time.monotonic()
    while time.monotonic() < changed_s + _QUIET_S:
        time.sleep(_QUIET_S / 10)
        now = _expired(connection)
        if now != expired:
            expired, changed_s = now, time.monotonic()
        if time.monotonic() > begun_s + _PATIENCE_S:
            raise BenchError("retention keeps deleting although no rows are added")
    return expired


def _expired(connection: sqlite3.Connection) -> int:
    """The rows deleted so far, counted in the transactions that delete them."""
    (n,) = connection.execute("SELECT sum(n) FROM ledger WHERE counter = 'expired'").fetchone()
    return int(n or 0)
