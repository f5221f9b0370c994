"""Limits the rate of sending. It reads no clock: the time is an argument."""


class Pace:
    """A token bucket of `rate` records a second. It holds the records of 20 ms, and at least one.

    The small bucket keeps bursts small. After a pause, the missed records are not sent in one burst that
    could overrun a receiver which copes with the steady rate.
    """

    BURST_S = 0.02
    TICK_S = 0.001
    """Rates above 1,000/s are sent in ticks of this length."""

    def __init__(self, rate: float, now_s: float) -> None:
        self._rate = rate
        self._most = max(1.0, rate * self.BURST_S)
        self._tokens = 1.0
        self._at_s = now_s

    def due(self, now_s: float) -> int:
        """Records that may be sent at `now_s` (monotonic seconds)."""
        self._tokens = min(self._most, self._tokens + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        return int(self._tokens)

    def spend(self, count: int) -> None:
        """`count` records were sent."""
        self._tokens -= count

    def delay_s(self) -> float:
        """Seconds, from the last `due`, until the next tick's records are due."""
        wanted = max(1.0, self._rate * self.TICK_S)
        return max(0.0, (wanted - self._tokens) / self._rate)
