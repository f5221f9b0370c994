"""The cost of being observed: a page, `top`, a scrape each second and a tap, compared with nobody.

One daemon stores equal parts of records, observed and alone in turn: after a part that warms it up, alone,
observed, observed, alone; the next daemon the other way round. So what differs between daemons, and what
drifts in one, cancels out in the ratio of each.
"""

import json
import os
import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from streamd.admin.token import OWN_FILE
from streamd.bench.child import Child, thread_cpu_s
from streamd.bench.daemon import BenchDaemon, Setup
from streamd.bench.median_interval import CONFIDENCE, median_interval
from streamd.bench.plan import Plan
from streamd.bench.prepared_sender import prepare
from streamd.bench.row import BenchError, Row

GOAL_RATIO = 1.03
POINT = "source:tcp"
_CONNECTIONS = 4
_PATIENCE_S = 60.0
_LOOK_S = 0.05
_SETTLE_S = 1.5
"""After the start, and after the first scrape, whose import of the library takes longer than a scrape."""
_LEAST_PER_S = 2 / 3
"""Answers a second that each observer has to read, besides the first one."""


@dataclass(frozen=True, slots=True)
class MeasuredPart:
    """What a daemon needed for all lines, from the start of the sender to the last commit."""

    cpu_s: float
    loop_cpu_s: float
    """The part of `cpu_s` used by the thread of the event loop."""
    wall_s: float
    is_observed: bool = False


@dataclass(frozen=True, slots=True)
class Turns:
    """What one daemon needed, alone and observed in turn."""

    parts: Sequence[MeasuredPart]
    alone_idle_ms_per_s: float
    """CPU milliseconds in a second without records."""
    observed_idle_ms_per_s: float

    def sum(self, name: str, *, observed: bool) -> float:
        """The sum of a field over the parts of one kind."""
        return float(sum(getattr(part, name) for part in self.parts if part.is_observed is observed))

    @property
    def ratio(self) -> float:
        """The CPU time of the observed parts divided by that of the others."""
        return self.sum("cpu_s", observed=True) / self.sum("cpu_s", observed=False)


def measure(plan: Plan) -> list[Row]:
    """CPU seconds per million records with and without observers, and the CPU of an idle daemon."""
    turns = []
    with plan.folder() as folder:
        lines = folder / "lines"
        prepare(lines, plan.observed_records)
        for number in range(plan.observed_turns):
            plan.step(f"observation: daemon {number + 1} of {plan.observed_turns}, alone and observed")
            turns.append(run(plan, lines, observed_first=number % 2 == 1))
    ratios = [one.ratio for one in turns]
    ratio, interval = statistics.median(ratios), median_interval(ratios)
    sure = f" ({CONFIDENCE:.0%} sure: {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    alone_s = [one.sum("cpu_s", observed=False) for one in turns]
    parts = sum(not part.is_observed for part in turns[0].parts)
    millions = plan.observed_records * parts / 1e6
    who = "two readers of /events (the page and top), a scrape of /metrics each second and a tap"
    return [
        Row(
            name="observation",
            what=f"TCP, {plan.observed_records:,} JSON lines → typed table, observed",
            value=statistics.median(alone_s) * ratio / millions,
            unit="CPU s/M",
            note=f"{who} while the sender never pauses; {len(turns)} daemons, each alone and observed,"
            f" {parts} parts of each; the median of their ratios is {ratio:.3f}{sure};"
            f" {_rate(plan, turns, observed=True):,.0f} records/s observed,"
            f" {_rate(plan, turns, observed=False):,.0f} alone",
            baseline=statistics.median(alone_s) / millions,
            baseline_what="the same daemons without observers",
            goal=f"ratio ≤ {GOAL_RATIO}",
            reached=ratio <= GOAL_RATIO if plan.judge else None,
            details={"records": plan.observed_records, "ratios": ratios, "interval": interval,
                     "turns": list(map(asdict, turns))},
        ),
        Row(
            name="observation_idle",
            what="Idle daemon, observed",
            value=statistics.median(one.observed_idle_ms_per_s for one in turns),
            unit="CPU ms/s",
            note=f"{who}; over {plan.observed_idle_s:g} s without records",
            baseline=statistics.median(one.alone_idle_ms_per_s for one in turns),
            baseline_what="the same daemons without observers",
        ),
    ]  # fmt: skip


def _rate(plan: Plan, turns: Sequence[Turns], *, observed: bool) -> float:
    """The median of the records a second."""
    return statistics.median(
        plan.observed_records * len(one.parts) / 2 / one.sum("wall_s", observed=observed) for one in turns
    )


def run(plan: Plan, lines: Path, *, observed_first: bool) -> Turns:
    """One daemon, in turn. Raises `BenchError` if a record is missing or an observer read too little."""
    with plan.folder() as folder, BenchDaemon(folder, Setup(typed=True)) as daemon:
        with _observers(plan, folder, daemon):  # the first scrape imports its library
            observed_idle = _idle_ms_per_s(plan, daemon)
        alone_idle = _idle_ms_per_s(plan, daemon)
        _part(plan, folder, daemon, lines, 0)  # the first records cost more
        parts: list[MeasuredPart] = []
        for is_observed in (observed_first, not observed_first, not observed_first, observed_first):
            if is_observed:
                with _observers(plan, folder, daemon) as child:
                    part = _part(plan, folder, daemon, lines, len(parts) + 1)
                    _wait_for("tapped", child)
            else:
                part = _part(plan, folder, daemon, lines, len(parts) + 1)
            parts.append(replace(part, is_observed=is_observed))
        daemon.stop().check_complete(plan.observed_records, times=len(parts) + 1)
    return Turns(parts, alone_idle, observed_idle)


def _part(plan: Plan, folder: Path, daemon: BenchDaemon, lines: Path, number: int) -> MeasuredPart:
    """Send all lines, after they were sent `number` times before, and wait until they are committed."""
    cpu_s, loop_cpu_s, began_s = daemon.cpu_s, thread_cpu_s(daemon.pid), time.monotonic()
    arguments = (str(daemon.port), str(lines), str(_CONNECTIONS))
    with Child(folder, "streamd.bench.prepared_sender", *arguments) as sender:
        daemon.wait_for_rows(plan.observed_records * (number + 1), sender)
        part = MeasuredPart(
            daemon.cpu_s - cpu_s, thread_cpu_s(daemon.pid) - loop_cpu_s, time.monotonic() - began_s
        )
        sender.wait(_PATIENCE_S)
    return part


def _idle_ms_per_s(plan: Plan, daemon: BenchDaemon) -> float:
    time.sleep(_SETTLE_S)
    before_s, began_s = daemon.cpu_s, time.monotonic()
    time.sleep(plan.observed_idle_s)
    return (daemon.cpu_s - before_s) / (time.monotonic() - began_s) * 1000


@contextmanager
def _observers(plan: Plan, folder: Path, daemon: BenchDaemon) -> Iterator[Child]:
    """Observe while this is open. Raises `BenchError` if an observer has read too little in this time.

    In a trial run one answer is enough: the machine may be busy with other work.
    """
    arguments = (str(daemon.admin_port), str(folder / OWN_FILE), POINT)
    with Child(folder, "streamd.bench.observers", *arguments) as child:
        _wait_for("ready", child)
        began_s = time.monotonic()
        yield child
        observed_s = time.monotonic() - began_s
        if child.running():
            os.kill(child.pid, signal.SIGTERM)
        child.wait(_PATIENCE_S)
        _check(json.loads(child.out.splitlines()[-1]), observed_s if plan.judge else 0.0)


def _wait_for(line: str, child: Child) -> None:
    """Wait until the observers print the line."""
    end_s = time.monotonic() + _PATIENCE_S
    while line not in child.out.splitlines():
        if not child.running() or time.monotonic() > end_s:
            raise child.failure(f"did not say {line}")
        time.sleep(_LOOK_S)


def _check(answers: dict[str, int], observed_s: float) -> None:
    """Each stream has an event a second, and each second has a scrape; at a third less something is wrong."""
    expected = 1 + int(observed_s * _LEAST_PER_S)
    for name in ("page", "top", "metrics"):
        if answers.get(name, 0) < expected:
            raise BenchError(f"{name} had {answers.get(name, 0)} answers in {observed_s:.1f} s")
