"""Arrivals and departures of a queue: rates over the last seconds, and how much they vary."""

from collections import deque
from typing import NamedTuple

from streamd.dynamics.blocks import BLOCK_S, Block, Blocks, rate_per_s, variance_per_s
from streamd.dynamics.cusum import RateCusum

WINDOWS_S = (1.0, 5.0, 20.0)
"""Rates are shown over these times. A forecast uses the longest one, or the time since the last change."""
MEMORY_S = 60.0
"""The variance of bursts is measured over this time."""
_SMALLEST_CHANGE = 0.01
"""A change by a smaller share of the rate is not looked for."""
_CHANGE_AT_FIRST = 0.2
"""The same before the variance was ever measured: arrivals that vary are no changes."""
_SHORTEST_BACKLOG_S = 1.0
"""Departures over a shorter time show no capacity, because they come in batches."""
_ENOUGH_BLOCKS = 8
_ROUNDING_S = 1e-6


class Flow(NamedTuple):
    """Arrivals and departures a second over `window_s` seconds."""

    window_s: float
    in_per_s: float
    out_per_s: float


class _Change(NamedTuple):
    mono_s: float
    is_rise: bool
    """Whether the queue fills faster since, or empties more slowly."""


class _Counts(NamedTuple):
    mono_s: float
    arrived: float
    left: float


class Rates:
    """Observes the cumulative counters of a queue. Memory: one entry for each observation of 20 seconds."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything that was observed."""
        self._seen: deque[_Counts] = deque()
        self._arrivals = _Counter()
        self._departures = _Counter()
        self._since_mono_s = 0.0
        """The time of the last change."""
        self._left_since_mono_s = 0.0
        """The time of the last change of the departures."""
        self._backlog_since_mono_s: float | None = None
        self._changes: deque[_Change] = deque()
        """The changes of the last `MEMORY_S` seconds."""

    def observe(self, mono_s: float, arrived: float, left: float, *, is_backlogged: bool) -> None:
        """Enter the counters. A clock that stands is ignored; counters that fell begin anew.

        `is_backlogged`: whether, since the last observation, the queue was never empty and its stage never
        idle. Only then departures show what the stage can do.
        """
        now = _Counts(mono_s, arrived, left)
        if self._seen:
            last = self._seen[-1]
            if mono_s <= last.mono_s:
                return
            if arrived < last.arrived or left < last.left:
                self.reset()
        if not self._seen:
            self._since_mono_s = mono_s
        elif not is_backlogged:
            self._backlog_since_mono_s = None
        elif self._backlog_since_mono_s is None:
            self._backlog_since_mono_s = self._seen[-1].mono_s
        self._seen.append(now)
        while len(self._seen) > 1 and mono_s - self._seen[1].mono_s >= WINDOWS_S[-1]:
            self._seen.popleft()
        self._observe_blocks(now)

    def over(self, seconds: float) -> Flow:
        """The rates over the last `seconds`, or the time that was observed if that is shorter."""
        return self._since(self._seen[-1].mono_s - seconds) if self._seen else Flow(0.0, 0.0, 0.0)

    @property
    def now(self) -> Flow:
        """The rates since the last change, at most over 20 seconds."""
        return self._of_state(self._since_mono_s)

    @property
    def in_bursts(self) -> Flow:
        """As `now`, with all bursts of the last minute as one state."""
        return self._of_state(self._bursts_since_mono_s)

    def _of_state(self, since_mono_s: float) -> Flow:
        if len(self._seen) <= 1:
            return Flow(0.0, 0.0, 0.0)
        since_mono_s = max(since_mono_s, self._seen[-1].mono_s - WINDOWS_S[-1])
        return self._since(min(since_mono_s, self._seen[-2].mono_s))

    @property
    def is_bursty(self) -> bool:
        """Whether the rates rose and fell within `MEMORY_S`: these are bursts, not lasting changes."""
        return len({change.is_rise for change in self._changes}) > 1

    @property
    def _bursts_since_mono_s(self) -> float:
        """The begin of the bursts; if there are none, the last change."""
        return self._changes[0].mono_s if self.is_bursty else self._since_mono_s

    @property
    def backlog_out_per_s(self) -> float | None:
        """Departures a second in the present backlog: the capacity. None without one, or if it is new."""
        if self._backlog_since_mono_s is None:
            return None
        flow = self._since(max(self._backlog_since_mono_s, self._left_since_mono_s))
        return flow.out_per_s if flow.window_s >= _SHORTEST_BACKLOG_S else None

    @property
    def variance_per_s(self) -> float:
        """The variance rate of arrivals less departures: for t seconds the variance is t times this.

        Until it is measured it is that of Poisson arrivals. Departures add to it in a backlog only:
        those of a queue that is empty now and then repeat the arrivals.
        """
        return self._variance_per_s(self._since_mono_s)

    @property
    def variance_in_bursts_per_s(self) -> float:
        """As `variance_per_s`, with all bursts of the last minute as one state."""
        return self._variance_per_s(self._bursts_since_mono_s)

    @property
    def knows_variance(self) -> bool:
        """Whether the variance of arrivals was ever measured over a few seconds, and not only assumed."""
        return self._arrivals.most_blocks >= _ENOUGH_BLOCKS

    def _variance_per_s(self, since_mono_s: float) -> float:
        counters = [self._arrivals]
        if self._backlog_since_mono_s is not None:
            counters.append(self._departures)
        return sum(counter.variance_per_s(counter.since(since_mono_s)) for counter in counters)

    def _since(self, mono_s: float) -> Flow:
        last = self._seen[-1]
        first = next((one for one in self._seen if one.mono_s >= mono_s - _ROUNDING_S), last)
        seconds = last.mono_s - first.mono_s
        if seconds <= 0:
            return Flow(0.0, 0.0, 0.0)
        return Flow(seconds, (last.arrived - first.arrived) / seconds, (last.left - first.left) / seconds)

    def _observe_blocks(self, now: _Counts) -> None:
        while self._changes and now.mono_s - self._changes[0].mono_s > MEMORY_S:
            self._changes.popleft()
        has_changed = False
        is_backlogged = self._backlog_since_mono_s is not None
        for counter, count in ((self._arrivals, now.arrived), (self._departures, now.left)):
            ended = counter.blocks.observe(now.mono_s, count)
            if ended is None:
                continue
            recent = counter.since(self._since_mono_s)
            # Departures change whenever arrivals do. Of their own they change only in a backlog.
            is_watched = counter is self._arrivals or is_backlogged
            if recent and is_watched and counter.has_changed(recent, ended):
                is_more = ended.total > rate_per_s(recent) * ended.seconds
                has_changed = True
                if counter is self._departures:
                    self._left_since_mono_s = now.mono_s
                if counter.has_counted:  # else it begins, which is no change of a rate
                    is_rise = is_more is (counter is self._arrivals)
                    self._changes.append(_Change(ended.begun_mono_s, is_rise=is_rise))
            counter.has_counted = counter.has_counted or ended.total > 0
            counter.blocks.kept.append(ended)
        if has_changed:
            # The block of the change began at the old rate, so it belongs to neither.
            self._since_mono_s = now.mono_s
            self._arrivals.cusum.reset()
            self._departures.cusum.reset()


class _Counter:
    """The blocks of one counter, and the search for a change of its rate."""

    def __init__(self) -> None:
        self.blocks = Blocks(int(MEMORY_S / BLOCK_S))
        self.cusum = RateCusum()
        self._dispersion: float | None = None
        """The variance rate divided by the rate, as last measured; 1 for Poisson arrivals."""
        self.most_blocks = 0
        """The largest number of blocks that a variance was measured over."""
        self.has_counted = False
        """Whether anything was ever counted."""

    def since(self, mono_s: float) -> list[Block]:
        """The blocks of a state; the block of its begin until there are others."""
        kept = self.blocks.kept
        return [block for block in kept if block.begun_mono_s >= mono_s - _ROUNDING_S] or list(kept)[-1:]

    def variance_per_s(self, recent: list[Block]) -> float:
        """That of the blocks; if they are too few, that of their rate with the last known dispersion.

        It is at least that of Poisson arrivals, because neither senders nor observations are exact in time.
        """
        mean = max(rate_per_s(recent), 1.0)
        found = variance_per_s(recent)
        if self.has_counted:
            self.most_blocks = max(self.most_blocks, len(recent))
        if found is None:
            return (self._dispersion or 1.0) * mean
        self._dispersion = max(found / mean, 1.0)
        return self._dispersion * mean

    def has_changed(self, recent: list[Block], block: Block) -> bool:
        """Compare a new block with those before it."""
        mean = rate_per_s(recent)
        variance = self.variance_per_s(recent)
        seconds = sum(one.seconds for one in recent)
        # The mean of few blocks is uncertain itself.
        spread = (variance * block.seconds * (1 + block.seconds / seconds)) ** 0.5
        share = _SMALLEST_CHANGE if self._dispersion is not None else _CHANGE_AT_FIRST
        spread = max(spread, share * mean * block.seconds)
        return self.cusum.observe((block.total - mean * block.seconds) / spread)
