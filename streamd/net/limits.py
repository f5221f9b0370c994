"""Limits on rates and connections, for each sender and for all together."""

from collections import Counter, OrderedDict
from typing import Any

MAX_SENDERS = 16384
"""Most senders whose rate is tracked, at about 200 bytes each. The least recently seen one is forgotten
first, and starts with a full bucket when it returns."""


class TokenBucket:
    """Allows `rate` items a second, in bursts of at most `rate` items."""

    __slots__ = ("_at_mono_s", "_left", "rate")

    def __init__(self, rate: int, now_mono_s: float) -> None:
        self.rate = rate
        self._left = float(rate)
        self._at_mono_s = now_mono_s

    def take(self, count: int, now_mono_s: float) -> int:
        """How many of `count` items may pass now. Their tokens are spent."""
        left = min(self.rate, self._left + (now_mono_s - self._at_mono_s) * self.rate)
        self._at_mono_s = now_mono_s
        taken = min(count, int(left))
        self._left = left - taken
        return taken


class SenderRates:
    """A token bucket for each sender (IP address). Memory is bounded, however many addresses are forged."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, host: str, count: int, now_mono_s: float) -> int:
        """How many of `count` datagrams of this sender may pass now. O(1)."""
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
    """Admits connections. Counts open ones by sender even without a limit, so that a reload may add one."""

    def __init__(self, config: Any, now_mono_s: float) -> None:
        self._open: Counter[str | None] = Counter()
        self._total = 0
        self._rate: TokenBucket | None = None
        self.become(config, now_mono_s)

    def become(self, config: Any, now_mono_s: float) -> None:
        """Take over new limits. Open connections stay."""
        self._max = config.max_connections
        self._max_per_sender = config.max_connections_per_sender
        rate = config.max_accept_rate
        if rate is None:
            self._rate = None
        elif self._rate is None or self._rate.rate != rate:
            self._rate = TokenBucket(rate, now_mono_s)

    def enter(self, sender: str | None, now_mono_s: float) -> str | None:
        """Count a new connection and return None, or return the key of the limit that refuses it.

        A sender over its own limit spends nothing of the shared accept rate. `sender` is None if it is not
        known yet.
        """
        if self._is_at_limit(sender):
            return "max_connections_per_sender"
        if self._total >= self._max:
            return "max_connections"
        if self._rate is not None and not self._rate.take(1, now_mono_s):
            return "max_accept_rate"
        self._total += 1
        self._open[sender] += 1
        return None

    @property
    def open(self) -> int:
        """Connections that `enter` counted and `leave` has not uncounted."""
        return self._total

    def name(self, sender: str) -> str | None:
        """Count a connection that entered without a sender for its sender, or return as `enter` does."""
        if self._is_at_limit(sender):
            return "max_connections_per_sender"
        self._uncount(None)
        self._open[sender] += 1
        return None

    def leave(self, sender: str | None) -> None:
        """Uncount a connection that `enter` counted."""
        self._total -= 1
        self._uncount(sender)

    def _is_at_limit(self, sender: str | None) -> bool:
        return (
            sender is not None
            and self._max_per_sender is not None
            and self._open[sender] >= self._max_per_sender
        )

    def _uncount(self, sender: str | None) -> None:
        self._open[sender] -= 1
        if not self._open[sender]:
            del self._open[sender]
