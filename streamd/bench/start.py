"""The time from the start of the process to its first accepted TCP connection."""

import statistics

from streamd.bench.daemon import BenchDaemon, Setup
from streamd.bench.plan import Plan
from streamd.bench.row import Row

GOAL_S = 0.5


def measure(plan: Plan) -> list[Row]:
    """The median of several starts, each in an empty folder."""
    plan.step("start")
    found = sorted(_once(plan) for _ in range(plan.starts))
    median_s = statistics.median(found)
    return [
        Row(
            name="start",
            what="Start until it takes a connection",
            value=median_s,
            unit="s",
            note=f"median of {len(found)}, {found[0]:.2f} to {found[-1]:.2f} s; tried every 1 ms",
            goal=f"< {GOAL_S} s",
            reached=median_s < GOAL_S if plan.judge else None,
            details={"seconds": found},
        )
    ]


def _once(plan: Plan) -> float:
    with plan.folder() as folder, BenchDaemon(folder, Setup()) as daemon:
        daemon.stop()
        return daemon.start_s
