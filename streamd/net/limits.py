"""How much one sender, or all of them, may ask of a listener."""

from collections import Counter, OrderedDict
from typing import Any

MAX_SENDERS = 16384
"""Senders whose rate is remembered, about 200 bytes each. The one not heard of for longest is forgotten
first, and begins with a whole second's allowance when it comes again."""


class TokenBucket:
    """So many a second, and no more than a second's worth at once."""

    __slots__ = ("_at_mono_s", "_left", "rate")

    def __init__(self, rate: int, now_mono_s: float) -> None:
        self.rate = rate
        self._left = float(rate)
        self._at_mono_s = now_mono_s

    def take(self, count: int, now_mono_s: float) -> int:
        """How many of `count` may go now; they are used up."""
        left = min(self.rate, self._left + (now_mono_s - self._at_mono_s) * self.rate)
        self._at_mono_s = now_mono_s
        taken = min(count, int(left))
        self._left = left - taken
        return taken


class SenderRates:
    """A bucket for each sender, an IP address. Bounded in memory, however many senders are invented."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, host: str, count: int, now_mono_s: float) -> int:
        """How many of `count` datagrams of this sender may go; in O(1)."""
        buckets = self._buckets
        bucket = buckets.get(host)
        if bucket is None:
            if len(buckets) >= MAX_SENDERS:
                buckets.popitem(last=False)
            bucket = buckets[host] = TokenBucket(self.rate, now_mono_s)
        else:
            buckets.move_to_end(host)
        return bucket.take(count, now_mono_s)


class ConnectionLimits:
    """Who may connect now. Counts what is open by sender, so that a limit may come or change at any time."""

    def __init__(self, config: Any, now_mono_s: float) -> None:
        self._open: Counter[str] = Counter()
        self._total = 0
        self._rate: TokenBucket | None = None
        self.become(config, now_mono_s)

    def become(self, config: Any, now_mono_s: float) -> None:
        """Go on with other limits; connections that are open stay."""
        self._max = config.max_connections
        self._max_per_sender = config.max_connections_per_sender
        rate = config.max_accept_rate
        if rate is None:
            self._rate = None
        elif self._rate is None or self._rate.rate != rate:
            self._rate = TokenBucket(rate, now_mono_s)

    def enter(self, sender: str, now_mono_s: float) -> str | None:
        """Count a connection that begins; or the reason why it may not, which is the limit's key.

        A sender that is over its own number takes nothing from the rate, which all share.
        """
        if self._max_per_sender is not None and self._open[sender] >= self._max_per_sender:
            return "max_connections_per_sender"
        if self._total >= self._max:
            return "max_connections"
        if self._rate is not None and not self._rate.take(1, now_mono_s):
            return "max_accept_rate"
        self._total += 1
        self._open[sender] += 1
        return None

    def leave(self, sender: str) -> None:
        """A connection that was counted is over."""
        self._total -= 1
        self._open[sender] -= 1
        if not self._open[sender]:
            del self._open[sender]
