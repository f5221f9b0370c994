"""The cost of being observed: a page, `top`, a scrape each second and a tap, compared with nobody."""

import json
import os
import signal
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from streamd.admin.token import OWN_FILE
from streamd.bench.child import Child
from streamd.bench.daemon import BenchDaemon, Setup
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, Row
from streamd.bench.sending import Sender

GOAL_RATIO = 1.03
POINT = "source:tcp"
_CONNECTIONS = 4
_READY_S = 60.0
_LOOK_S = 0.05
_SETTLE_S = 1.5
"""After the start, and after the first scrape, whose import of the library takes longer than a scrape."""


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """One run of the daemon, with observers or without."""

    cpu_s: float
    """From the first byte sent until every record was committed."""
    records_per_s: float
    idle_ms_per_s: float
    """CPU milliseconds in a second without records, before the first one."""
    answers: dict[str, int]
    """The events and scrapes that each observer has read."""


def measure(plan: Plan) -> list[Row]:
    """CPU seconds per million records with and without observers, in turn, and the CPU of an idle daemon."""
    alone, observed = [], []
    for number in range(1, plan.tcp_repeats + 1):
        plan.step(f"observation: run {number} of {plan.tcp_repeats} without and with observers")
        alone.append(run(plan, are_there=False))
        observed.append(run(plan, are_there=True))
    ratio = statistics.median(one.cpu_s / other.cpu_s for one, other in zip(observed, alone, strict=True))
    millions = plan.observed_records / 1e6
    observed_per_s, alone_per_s = (_median(runs, "records_per_s") for runs in (observed, alone))
    who = "two readers of /events (the page and top), a scrape of /metrics each second and a tap"
    details = {"records": plan.observed_records, "ratio_of_pairs": ratio,
               "alone": list(map(asdict, alone)), "observed": list(map(asdict, observed))}  # fmt: skip
    return [
        Row(
            name="observation",
            what=f"TCP, {plan.observed_records:,} JSON lines → typed table, observed",
            value=_median(alone, "cpu_s") * ratio / millions,
            unit="CPU s/M",
            note=f"{who} while the sender never pauses; the ratio is the median of {len(alone)} pairs, each"
            f" a run without and a run with them; {observed_per_s:,.0f} records/s observed,"
            f" {alone_per_s:,.0f} alone",
            baseline=_median(alone, "cpu_s") / millions,
            baseline_what="the same without observers",
            goal=f"ratio ≤ {GOAL_RATIO}",
            reached=ratio <= GOAL_RATIO if plan.judge else None,
            details=details,
        ),
        Row(
            name="observation_idle",
            what="Idle daemon, observed",
            value=_median(observed, "idle_ms_per_s"),
            unit="CPU ms/s",
            note=f"{who}; over {plan.observed_idle_s:g} s without records",
            baseline=_median(alone, "idle_ms_per_s"),
            baseline_what="the same without observers",
        ),
    ]


def run(plan: Plan, *, are_there: bool) -> ObservedRun:
    """One run. Raises `BenchError` if a record is missing or an observer read too little."""
    count = plan.observed_records
    with plan.folder() as folder, ExitStack() as ends:
        daemon = ends.enter_context(BenchDaemon(folder, Setup(typed=True)))
        observers = ends.enter_context(_observers(folder, daemon)) if are_there else None
        time.sleep(_SETTLE_S)
        before_s, began_s = daemon.cpu_s, time.monotonic()
        time.sleep(plan.observed_idle_s)
        idle_ms_per_s = (daemon.cpu_s - before_s) / (time.monotonic() - began_s) * 1000
        before_s = daemon.cpu_s
        with Sender(folder, daemon.port, count, f"--connections={_CONNECTIONS}") as sender:
            seen_s = daemon.wait_for_rows(count, sender)
            used_s = daemon.cpu_s - before_s
            started_s = sender.summary()["started_at"]
        time.sleep(_SETTLE_S)  # until the next portion of the tap
        answers = {} if observers is None else _stopped(observers)
        daemon.stop().check_complete(count)
    if observers is not None:
        _check(answers, plan.observed_idle_s)
    return ObservedRun(used_s, count / (seen_s - started_s), idle_ms_per_s, answers)


def _observers(folder: Path, daemon: BenchDaemon) -> Child:
    """The observers, each of which has had an answer."""
    own = folder / "observers"
    own.mkdir()
    child = Child(own, "streamd.bench.observers", str(daemon.admin_port), str(folder / OWN_FILE), POINT)
    end_s = time.monotonic() + _READY_S
    while not child.out.startswith("ready"):
        if not child.running() or time.monotonic() > end_s:
            child.__exit__()
            raise child.failure("had no answer from the daemon")
        time.sleep(_LOOK_S)
    return child


def _stopped(observers: Child) -> dict[str, int]:
    if observers.running():
        os.kill(observers.pid, signal.SIGTERM)
    observers.wait(_READY_S)
    found: dict[str, int] = json.loads(observers.out.splitlines()[-1])
    return found


def _check(answers: dict[str, int], least_s: float) -> None:
    """Each stream has an event a second, and each second has a scrape; at a third less something is wrong."""
    expected = 1 + int(least_s * 2 / 3)
    for name in ("page", "top", "metrics"):
        if answers.get(name, 0) < expected:
            raise BenchError(f"{name} had {answers.get(name, 0)} answers in more than {least_s:g} s")
    if answers.get("tap", 0) <= 1:
        raise BenchError("the tap showed no record")


def _median(runs: Sequence[ObservedRun], name: str) -> float:
    return float(statistics.median(getattr(run, name) for run in runs))
