"""UDP into SQLite at a steady rate and at the highest rate without loss, compared with a counting loop."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from streamd.bench.child import Child
from streamd.bench.daemon import BenchDaemon, Setup
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, Row
from streamd.bench.sending import Sender

_STEP = 50_000
_SHARES_BELOW = (0.75, 0.5, 0.25)
_TRIES = 2
_KEPT_UP = 0.97
"""If a sender reached less than this share of its rate, the run measured the sender, not the receiver."""
_LISTEN_S = 10.0
_LOST_S = 3.0
"""Datagrams not committed this long after the last commit and the sender's end count as lost."""


@dataclass(frozen=True, slots=True)
class UdpRun:
    """One run at one rate (datagrams a second)."""

    rate: int
    sent: int
    sent_per_s: float
    kept: int
    kernel_dropped: int
    dropped: int
    cpu_s: float

    @property
    def lost(self) -> int:
        """Datagrams that the kernel accepted from the sender and the receiver did not keep."""
        return self.sent - self.kept

    @property
    def cpu_s_per_million(self) -> float:
        """The receiver's CPU seconds for a million kept datagrams."""
        return self.cpu_s / max(1, self.kept) * 1e6

    @property
    def kept_up(self) -> bool:
        """Whether the sender reached the rate."""
        return self.sent_per_s >= self.rate * _KEPT_UP


Receiver = Callable[[Plan, int, float], UdpRun]


def into_daemon(plan: Plan, rate: int, seconds: float) -> UdpRun:
    """Send to a daemon with a typed table. Raises `BenchError` if a datagram has no fate in the books."""
    count = int(rate * seconds)
    with plan.folder() as folder, BenchDaemon(folder, Setup()) as daemon:
        with Sender(folder, daemon.port, count, "--protocol=udp", f"--rate={rate}") as sender:
            daemon.wait_for_rows(count, sender, _LOST_S)
            used_s = daemon.cpu_s
            summary = sender.summary()
        stopped = daemon.stop()
    dropped, kernel_dropped = stopped.total("dropped"), stopped.total("kernel_dropped")
    if stopped.rows + dropped + kernel_dropped != count or stopped.distinct != stopped.rows:
        raise BenchError(
            f"of {count} datagrams {stopped.rows} were stored ({stopped.distinct} of them distinct),"
            f" {dropped} dropped and {kernel_dropped} dropped by the kernel"
        )
    return UdpRun(rate, count, summary["rate"], stopped.rows, kernel_dropped, dropped, used_s)


def into_counter(plan: Plan, rate: int, seconds: float) -> UdpRun:
    """Send to the loop that only counts."""
    count = int(rate * seconds)
    with plan.folder() as folder, Child(folder, "streamd.bench.recvmmsg", str(count)) as counter:
        until_s = time.monotonic() + _LISTEN_S
        while not counter.out.endswith("\n"):
            if not counter.running() or time.monotonic() > until_s:
                raise counter.failure("did not listen")
            time.sleep(0.01)
        with Sender(folder, int(counter.out), count, "--protocol=udp", f"--rate={rate}") as sender:
            summary = sender.summary()
        counter.wait(_LISTEN_S)
        found = json.loads(counter.out.splitlines()[1])
    return UdpRun(rate, count, summary["rate"], found["counted"], count - found["counted"], 0, found["cpu_s"])


def steady(plan: Plan) -> list[Row]:
    """Loss and CPU at a steady rate."""
    plan.step(f"udp_steady: {plan.udp_rate:,}/s, first its baseline")
    bare = into_counter(plan, plan.udp_rate, plan.udp_steady_s)
    run = into_daemon(plan, plan.udp_rate, plan.udp_steady_s)
    row = Row(
        name="udp_steady",
        what=f"UDP, {plan.udp_rate:,} datagrams/s → typed table",
        value=run.cpu_s_per_million,
        unit="CPU s/M",
        note=f"{run.lost:,} of {run.sent:,} lost ({run.kernel_dropped:,} by the kernel, {run.dropped:,}"
        f" dropped), sent at {run.sent_per_s:,.0f}/s; the baseline lost {bare.lost:,}",
        baseline=bare.cpu_s_per_million,
        baseline_what="recvmmsg loop that only counts",
        goal="0 lost",
        details={"daemon": asdict(run), "counter": asdict(bare)},
    )
    if plan.judge:
        row.reached = run.lost == 0 and run.kept_up
    return [row]


def highest(plan: Plan) -> list[Row]:
    """The highest rate without loss."""
    best, runs = _climb(plan, into_daemon)
    bare, bare_runs = _climb(plan, into_counter)
    return [
        Row(
            name="udp_highest",
            what="UDP, highest loss-free rate → typed table",
            value=best,
            unit="datagrams/s",
            note=f"steps of {_STEP:,}/s and a final half step, each {plan.udp_step_s:.0f} s; one of {_TRIES}"
            " tries must lose nothing",
            baseline=bare,
            baseline_what="recvmmsg loop that only counts",
            details={"daemon": [asdict(run) for run in runs], "counter": [asdict(run) for run in bare_runs]},
        )
    ]


def _climb(plan: Plan, receiver: Receiver) -> tuple[int, list[UdpRun]]:
    """The highest rate without loss, searched upwards (or downwards) from `plan.udp_rate`, and all runs."""
    runs: list[UdpRun] = []

    def loss_free(rate: int) -> bool:
        for _ in range(_TRIES):
            plan.step(f"udp_highest: {receiver.__name__.replace('_', ' ')}, {rate:,}/s")
            runs.append(receiver(plan, rate, plan.udp_step_s))
            if not runs[-1].lost and runs[-1].kept_up:
                return True
        return False

    if not loss_free(plan.udp_rate):
        below = (int(plan.udp_rate * share) for share in _SHARES_BELOW)
        return next((rate for rate in below if loss_free(rate)), 0), runs
    best = plan.udp_rate
    while best + _STEP <= plan.udp_most_rate:
        if not loss_free(best + _STEP):
            return best + _STEP // 2 if loss_free(best + _STEP // 2) else best, runs
        best += _STEP
    return best, runs
