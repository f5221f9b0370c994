"""A timer for a deadline that may change."""

import asyncio
from collections.abc import Callable

from streamd.core.now import Now

LEAST_S = 0.001
"""Shortest wait. A deadline that stays in the past costs a thousand calls per second, not the whole loop."""


class Alarm:
    """Calls `ring` when the deadline is reached on the given clock."""

    def __init__(self, clock: Callable[[], Now], ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._deadline_mono_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, deadline_mono_s: float | None) -> None:
        """Set the time (monotonic clock, seconds) at which to ring once; None: never."""
        if deadline_mono_s == self._deadline_mono_s and (self._timer is not None or deadline_mono_s is None):
            return
        self.cancel()
        self._deadline_mono_s = deadline_mono_s
        if deadline_mono_s is not None:
            wait_s = max(LEAST_S, deadline_mono_s - self._clock().mono_s)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._look)

    def cancel(self) -> None:
        """Remove the deadline."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._deadline_mono_s = None

    def _look(self) -> None:
        self._timer = None
        deadline_mono_s = self._deadline_mono_s
        if deadline_mono_s is not None and self._clock().mono_s < deadline_mono_s:  # a timer may be early
            self._deadline_mono_s = None
            self.set(deadline_mono_s)
            return
        self._deadline_mono_s = None
        self._ring()
