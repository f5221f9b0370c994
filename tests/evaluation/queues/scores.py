"""What the forecasts of a driven daemon were worth."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from streamd.dynamics.filling import time_to_full
from streamd.dynamics.rates import Rates
from streamd.dynamics.tandem import QueueBounds, Tandem
from tests.evaluation.queues.driven import Drive, Seen

SHORTEST_S = 1.0
"""Shorter times are not scored: the state is looked at ten times a second, and forecast twice. For the same
time after the load has changed, the last forecast is one from before."""


class Forecast(NamedTuple):
    """One forecast of the daemon, when it was first seen."""

    at_s: float
    low_s: float
    median_s: float
    high_s: float | None

    def covers(self, full_s: float) -> bool:
        """Whether the queue was full within the band."""
        left_s = full_s - self.at_s
        return self.low_s <= left_s and (self.high_s is None or left_s <= self.high_s)

    def error(self, full_s: float) -> float:
        """The error of the median, as a share of the time that was left."""
        return abs(self.median_s - (full_s - self.at_s)) / (full_s - self.at_s)


class Filling(NamedTuple):
    """How a queue was foreseen to be full."""

    full_s: float
    """When it was, after the begin of the load."""
    forecasts: list[Forecast]
    """Those that were published in the overload, without the first and the last `SHORTEST_S`."""
    withheld: int
    """Looks at the outlook in this time without a forecast."""
    expected_s: float | None
    """When the alarm was on for the first time."""


def full_at_s(drive: Drive) -> float | None:
    """When the queue was full for the first time."""
    dropped = 0
    for seen in drive.seen:
        entry = seen.outlook[drive.queue]
        if entry["records"] >= entry["max_records"] or (drive.queue == "source" and seen.dropped > dropped):
            return seen.at_s
    return None


def filling(drive: Drive) -> Filling | None:
    """The forecasts before the queue was full. None if it never was."""
    full_s = full_at_s(drive)
    if full_s is None:
        return None
    forecasts, withheld = [], 0
    expected_s = None
    for at_s, entry in news(drive.seen, drive.queue):
        if at_s < drive.begins_s + SHORTEST_S:
            continue
        if entry["overflow_expected"] and expected_s is None:
            expected_s = at_s
        if at_s > full_s - SHORTEST_S:
            continue
        if entry["full_in_s"] is None:
            withheld += 1
        else:
            band = entry["full_in_s"]
            forecasts.append(Forecast(at_s, band["low"], band["median"], band["high"]))
    return Filling(full_s, forecasts, withheld, expected_s)


def news(seen: Iterable[Seen], queue: str) -> Iterable[tuple[float, dict[str, Any]]]:
    """Each outlook of a queue when it was first seen."""
    last: dict[str, Any] | None = None
    for one in seen:
        if one.outlook.get(queue) != last and one.outlook.get(queue) is not None:
            last = one.outlook[queue]
            yield one.at_s, one.outlook[queue]


def every_band(drive: Drive, full_s: float) -> list[Forecast]:
    """The bands of all looks, also the withheld ones, made again of the counters that the daemon showed."""
    rates = Rates()
    found: list[Forecast] = []
    waited = 0
    last: dict[str, Any] | None = None
    for seen in drive.seen:
        entry = seen.outlook[drive.queue]
        if entry == last or seen.at_s > full_s - SHORTEST_S:
            continue
        last, waits = entry, entry["records"]
        left = seen.received - seen.dropped - waits
        rates.observe(seen.at_s, seen.received, left, is_backlogged=min(waits, waited) > 0)
        waited = waits
        flow, capacity = rates.in_bursts, entry["capacity_per_s"]
        if flow.window_s < SHORTEST_S or capacity is None:
            continue
        room = entry["max_records"] - waits
        drift = flow.in_per_s - capacity
        band = time_to_full(room, drift, rates.variance_in_bursts_per_s, flow.window_s)
        if band is not None:
            found.append(Forecast(seen.at_s, *band))
    return found


class Loss(NamedTuple):
    """Records that the model loses, given what really came, and those that the daemon dropped."""

    computed: float
    dropped: int

    @property
    def error(self) -> float:
        """The difference as a share of what was dropped."""
        return abs(self.computed - self.dropped) / self.dropped


def loss(drive: Drive) -> Loss | None:
    """Integrate the inflow that was counted, at the last capacity published before the first loss."""
    all_seen = [seen for seen in drive.seen if seen.at_s < drive.ends_s]
    first = next((index for index, seen in enumerate(all_seen) if seen.dropped), None)
    if first is None:
        return None
    start = max(index for index, seen in enumerate(all_seen[:first]) if _capacity(seen) is not None)
    capacity = _capacity(all_seen[start])
    assert capacity is not None
    entry = all_seen[start].outlook["source"]
    tandem = Tandem(
        QueueBounds(entry["max_records"], entry["max_bytes"], 0, "drop_newest"),
        QueueBounds(1e9, 1e18, 0, "block"),
        source_frames=all_seen[start].waiting,  # the outlook's number is older than the counters
    )
    computed = sum(
        tandem.advance(after.at_s - before.at_s, _per_s(before, after), capacity, 1e9).lost_at_source
        for before, after in pairwise(all_seen[start:])
    )
    return Loss(computed, all_seen[-1].dropped)


def _capacity(seen: Seen) -> float | None:
    found: float | None = seen.outlook["source"]["capacity_per_s"]
    return found


def _per_s(before: Seen, after: Seen) -> float:
    return (after.received - before.received) / (after.at_s - before.at_s)


class Stall(NamedTuple):
    """What a loop that stood still lost in the kernel."""

    slack_s: float
    """The slack before it."""
    in_per_s: float
    lost: int

    def computed(self, stalled_s: float) -> float:
        """Datagrams that do not fit into the kernel's buffer."""
        return max(0.0, stalled_s - self.slack_s) * self.in_per_s


def stall(drive: Drive) -> Stall:
    """The slack as published before the stall, and what the kernel dropped."""
    before = [seen for seen in drive.seen if seen.at_s < drive.begins_s][-1]
    entry = before.outlook["source"]
    return Stall(entry["loop_slack_s"], entry["in_per_s"], drive.seen[-1].kernel_dropped)


def median(values: Sequence[float]) -> float:
    """The middle value."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
