"""The latency of a normal sender while slow, idle, flooding and random senders attack, and in a quiet run."""

import time

from streamd.bench.child import Child
from streamd.bench.daemon import BenchDaemon, Setup
from streamd.bench.latency import RATE, quantile, under_load
from streamd.bench.plan import MIB, Plan
from streamd.bench.row import Row

GOAL_RATIO = 3
_MAX_WAIT_S = 0.02
"""A tenth of the default, because the batch's own wait would hide the delay that the attack adds."""
_OPEN_S = 60.0


def measure(plan: Plan) -> list[Row]:
    """p99 from send to commit, quiet and under attack. Raises `BenchError` if a valid record is lost."""
    quiet, _, quiet_bytes = _run(plan, plan.attack_records, 0)
    found, counts, peak_bytes = _run(plan, plan.attack_records, plan.attack_idle)
    quiet_ms, p99_ms = quantile(quiet, 0.99) * 1000, quantile(found, 0.99) * 1000
    return [
        Row(
            name="attack",
            what=f"Send to committed at {RATE:,}/s under attack, p99",
            value=p99_ms,
            unit="ms",
            note=f"0 of {plan.attack_records:,} lost under {plan.attack_idle:,} idle connections, slow ones,"
            f" a flood and noise; worst {found[-1] * 1000:.0f} ms; limits dropped"
            f" {counts['rate_limited']:,} datagrams and closed {counts['closed']:,} connections; peak"
            f" {peak_bytes / MIB:.0f} MiB, quiet"
            f" {quiet_bytes / MIB:.0f} MiB; max_wait {_MAX_WAIT_S * 1000:.0f} ms",
            baseline=quiet_ms,
            baseline_what="the same run without the attack",
            goal=f"< {GOAL_RATIO} times quiet",
            reached=p99_ms < GOAL_RATIO * quiet_ms if plan.judge else None,
            details={"counts": counts, "peak_bytes": peak_bytes, "quiet_peak_bytes": quiet_bytes},
        )
    ]


def _run(plan: Plan, count: int, idle: int) -> tuple[list[float], dict[str, int], int]:
    """The ordered latencies, counts of the limits and the daemon's peak memory. No attack if `idle` is 0."""
    plan.step(f"attack: {count:,} records at {RATE:,}/s, {f'{idle:,} idle connections' if idle else 'quiet'}")
    setup = Setup(exposed_to=max(1, idle), max_wait_s=_MAX_WAIT_S)
    with plan.folder() as folder, BenchDaemon(folder, setup) as daemon:
        with daemon.reader() as connection:
            if idle:
                with Child(folder, "streamd.bench.attackers", str(daemon.port), str(idle)) as attackers:
                    until_s = time.monotonic() + _OPEN_S
                    while not attackers.out:
                        if not attackers.running() or time.monotonic() > until_s:
                            raise attackers.failure("could not open its connections")
                        time.sleep(0.05)
                    found, _ = under_load(folder, daemon, connection, count)
                    attackers.running()
            else:
                found, _ = under_load(folder, daemon, connection, count)
        peak_bytes = daemon.peak_rss_bytes
        stopped = daemon.stop()
    stopped.check_complete(count)
    counts = {
        "rate_limited": stopped.counts["udp", "dropped"],
        "closed": stopped.counts["tcp", "connections_closed"],
        "rejected": stopped.total("rejected"),
        "refused": stopped.counts["tcp", "connections_refused"],
    }
    return found, counts, peak_bytes
