"""The latency from the sender's write to the commit, observed from outside.

A reader in this process queries the table every 2 ms. A record counts as committed at the end of the query
that first saw it. Every figure is therefore an upper bound, too high by at most one interval (about 2 ms, and
0.5 ms on an idle daemon).
"""

import socket
import sqlite3
import time
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

from streamd.bench.child import Child
from streamd.bench.daemon import MAX_WAIT_S, BenchDaemon, Setup, committed
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, Row
from streamd.sensors import SensorStream

RATE = 10_000
GOAL_OVER_MAX_WAIT_S = 0.020
GOAL_IDLE_S = 0.020
_LOOK_S = 0.002
_IDLE_LOOK_S = 0.0005
_IDLE_BETWEEN_S = 2 * MAX_WAIT_S
_PATIENCE_S = 30.0

Look = tuple[float, int]
"""The monotonic time of a query, and the rows it saw."""


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that a `share` of the ordered values does not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def latencies_s(sent_at_s: Sequence[float], looks: Sequence[Look]) -> list[float]:
    """The ordered latencies: for the nth record, from its sending to the first query that saw n rows."""
    seen = [rows for _, rows in looks]
    return sorted(looks[bisect_left(seen, n)][0] - sent_s for n, sent_s in enumerate(sent_at_s, start=1))


def measure(plan: Plan) -> list[Row]:
    """The latency under load, and on an idle daemon."""
    return [_under_load(plan), _when_idle(plan)]


def _under_load(plan: Plan) -> Row:
    count = plan.latency_records
    plan.step(f"latency: {count:,} records at {RATE:,}/s")
    with plan.folder() as folder, BenchDaemon(folder, Setup()) as daemon:
        with daemon.reader() as connection:
            found, gaps = under_load(folder, daemon, connection, count)
        daemon.stop().check_complete(count)
    p50_ms, p99_ms, worst_ms = (quantile(found, share) * 1000 for share in (0.5, 0.99, 1))
    goal_ms = (MAX_WAIT_S + GOAL_OVER_MAX_WAIT_S) * 1000
    return Row(
        name="latency_p99",
        what=f"Send to committed at {RATE:,}/s, p99",
        value=p99_ms,
        unit="ms",
        note=f"p50 {p50_ms:.0f} ms, worst {worst_ms:.0f} ms; max_wait {MAX_WAIT_S * 1000:.0f} ms; upper"
        f" bounds, queried every {quantile(gaps, 0.5) * 1000:.1f} ms"
        f" (99 % within {quantile(gaps, 0.99) * 1000:.1f} ms)",
        goal=f"< {goal_ms:.0f} ms (max_wait + {GOAL_OVER_MAX_WAIT_S * 1000:.0f})",
        reached=p99_ms < goal_ms if plan.judge else None,
        details={"records": count, "p50_ms": p50_ms, "p99_ms": p99_ms, "worst_ms": worst_ms},
    )


def under_load(
    folder: Path, daemon: BenchDaemon, connection: sqlite3.Connection, count: int, before: int = 0
) -> tuple[list[float], list[float]]:
    """Send `count` records at `RATE` into a typed table that has had `before` rows.

    Returns their latencies and the times between two queries, each in seconds and ordered. Raises
    `BenchError`.
    """
    stamps = folder / "sent"
    arguments = (str(daemon.port), str(RATE), str(count), str(stamps))
    with Child(folder, "streamd.bench.stamped_sender", *arguments) as sender:
        looks, gaps = _watch(connection, daemon.setup.table, count, before)
        sender.wait(_PATIENCE_S)
    (moved,) = connection.execute(
        "SELECT count(*) FROM readings WHERE rowid > ?1 AND rowid <> seq + ?1", (before,)
    ).fetchone()
    if moved:
        raise BenchError(f"{moved} rows are not in the order of sending, so a row count identifies no record")
    return latencies_s(array("d", stamps.read_bytes()), looks), gaps


def _watch(
    connection: sqlite3.Connection, table: str, count: int, before: int
) -> tuple[list[Look], list[float]]:
    """Query until `count` more rows are committed.

    Returns the queries that saw new rows, and the ordered times between queries.
    """
    looks: list[Look] = []
    gaps: list[float] = []
    rows, last_s = 0, time.monotonic()
    until_s = last_s + count / RATE + _PATIENCE_S
    while rows < count:
        time.sleep(_LOOK_S)
        found, now_s = committed(connection, table) - before, time.monotonic()
        if found != rows:
            rows = found
            looks.append((now_s, rows))
        gaps.append(now_s - last_s)
        last_s = now_s
        if now_s > until_s:
            raise BenchError(f"only {rows} of {count} records were committed")
    return looks, sorted(gaps)


def _when_idle(plan: Plan) -> Row:
    """Single records, each sent after a pause of two `max_wait`."""
    count = plan.idle_records
    plan.step(f"latency: {count} single records")
    found = []
    with plan.folder() as folder, BenchDaemon(folder, Setup()) as daemon:
        with (
            socket.create_connection(("127.0.0.1", daemon.port)) as sending,
            daemon.reader() as connection,
        ):
            for number, line in enumerate(SensorStream().lines(count), start=1):
                time.sleep(_IDLE_BETWEEN_S)
                sent_s = time.monotonic()
                sending.sendall(line + b"\n")
                while committed(connection, daemon.setup.table) < number:
                    if time.monotonic() > sent_s + _PATIENCE_S:
                        raise BenchError("a single record was not committed")
                    time.sleep(_IDLE_LOOK_S)
                found.append(time.monotonic() - sent_s)
        daemon.stop().check_complete(count)
    found.sort()
    return Row(
        name="latency_idle",
        what="One record on an idle daemon, worst",
        value=found[-1] * 1000,
        unit="ms",
        note=f"p50 {quantile(found, 0.5) * 1000:.1f} ms of {count}; upper bounds, queried every 0.5 ms",
        goal=f"< {GOAL_IDLE_S * 1000:.0f} ms",
        reached=found[-1] < GOAL_IDLE_S if plan.judge else None,
        details={"latencies_s": found},
    )
