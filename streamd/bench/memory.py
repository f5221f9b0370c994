"""The memory of an idle daemon, and its peak while the database is locked and a sender continues."""

import sqlite3
import time
from contextlib import closing

from streamd.bench.daemon import BenchDaemon, Setup
from streamd.bench.plan import MIB, Plan
from streamd.bench.row import BenchError, Row
from streamd.bench.sending import Sender

GOAL_IDLE_BYTES = 60 * MIB
GOAL_OVER_BUFFERS_BYTES = 100 * MIB
_BUFFERS = 2
"""The buffer of the source and the buffer of the sink."""
_SETTLE_S = 1.0


def idle(plan: Plan) -> list[Row]:
    """Resident memory a second after the daemon listens."""
    plan.step("memory_idle")
    with plan.folder() as folder, BenchDaemon(folder, Setup()) as daemon:
        time.sleep(_SETTLE_S)
        rss_bytes = daemon.rss_bytes
        daemon.stop()
    return [
        Row(
            name="memory_idle",
            what="Memory of an idle daemon",
            value=rss_bytes / MIB,
            unit="MiB",
            goal=f"< {GOAL_IDLE_BYTES // MIB} MiB",
            reached=rss_bytes < GOAL_IDLE_BYTES if plan.judge else None,
        )
    ]


def peak(plan: Plan) -> list[Row]:
    """The peak of resident memory while another connection holds the write lock and a sender continues."""
    plan.step(f"memory_peak: the database locked for {plan.memory_hold_s:.0f} s")
    peak_bytes = _blocked(plan)
    buffers_bytes = _BUFFERS * plan.memory_buffer_bytes
    goal_bytes = buffers_bytes + GOAL_OVER_BUFFERS_BYTES
    return [
        Row(
            name="memory_peak",
            what="Peak memory, sender faster than the disk, `block`",
            value=peak_bytes / MIB,
            unit="MiB",
            note=f"buffers {buffers_bytes // MIB} MiB in all; database locked for {plan.memory_hold_s:.1f} s,"
            f" then all {plan.memory_records:,} records stored",
            goal=f"≤ {goal_bytes // MIB} MiB (buffers + {GOAL_OVER_BUFFERS_BYTES // MIB})",
            reached=peak_bytes <= goal_bytes if plan.judge else None,
            details={"records": plan.memory_records, "buffers_bytes": buffers_bytes},
        )
    ]


def _blocked(plan: Plan) -> int:
    """The peak. Raises `BenchError` if the sender ended before the lock was released.

    In that case the buffers were never full.
    """
    count = plan.memory_records
    with plan.folder() as folder, BenchDaemon(folder, Setup(buffer_bytes=plan.memory_buffer_bytes)) as daemon:
        with closing(sqlite3.connect(daemon.database, isolation_level=None, timeout=10)) as other:
            other.execute("BEGIN IMMEDIATE")
            with Sender(folder, daemon.port, count) as sender:
                time.sleep(plan.memory_hold_s)
                if not sender.running():
                    raise BenchError(f"{count} records did not fill the buffers: nothing was measured")
                other.execute("ROLLBACK")
                daemon.wait_for_rows(count, sender)
                sender.summary()
        peak_bytes = daemon.peak_rss_bytes
        daemon.stop().check_complete(count)
        return peak_bytes
