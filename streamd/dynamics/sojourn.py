"""Whether a queue is really behind: the least wait of an interval (CoDel, RFC 8289, section 3)."""

INTERVAL_S = 1.0
"""Longer than any burst that the workers absorb at once."""
TARGET_S = 0.1
"""A least wait above this is a standing queue."""


class MinimumSojourn:
    """The least time that a record of the queue waited, over the last whole interval.

    A mean is high after each burst. Only the least wait shows that the queue did not become empty. While
    records wait and none is taken, the first of them has waited at least since the last was taken.
    """

    __slots__ = ("_began_mono_s", "_least_s", "_taken_mono_s", "interval_s", "last_s")

    def __init__(self, mono_s: float, interval_s: float = INTERVAL_S) -> None:
        self.interval_s = interval_s
        self.last_s: float | None = None
        """The least wait of the last interval. None if no record was taken and none waited."""
        self._began_mono_s = self._taken_mono_s = mono_s
        self._least_s: float | None = None

    def observe(self, wait_s: float | None, mono_s: float, *, is_waiting: bool = False) -> None:
        """Enter the least wait of the records taken since the last call; None: none was taken.

        `is_waiting`: whether records wait now.
        """
        if wait_s is not None or not is_waiting:
            self._taken_mono_s = mono_s
        if wait_s is not None and (self._least_s is None or wait_s < self._least_s):
            self._least_s = wait_s
        if mono_s - self._began_mono_s < self.interval_s:
            return
        self.last_s, self._least_s, self._began_mono_s = self._least_s, None, mono_s
        if self.last_s is None and is_waiting:
            self.last_s = mono_s - self._taken_mono_s
