"""How late the event loop is."""

import asyncio
from collections import deque
from collections.abc import Callable

from streamd.core.clock import Now

TICK_S = 0.5
WINDOW_TICKS = 20


class LoopLag:
    """Sleeps for a tick at a time and keeps by how much each sleep was too long, for the last ten seconds.

    A callback that holds the loop for a second shows as a lag of up to a second. After each tick `on_tick`
    is called: what needs to be looked at regularly needs no task of its own.
    """

    def __init__(self, clock: Callable[[], Now], on_tick: Callable[[Now], None] = lambda _now: None) -> None:
        self._clock = clock
        self._on_tick = on_tick
        self._late_s: deque[float] = deque(maxlen=WINDOW_TICKS)

    @property
    def worst_s(self) -> float:
        """The longest delay of the last ten seconds."""
        return max(self._late_s, default=0.0)

    async def run(self) -> None:
        """Tick until cancelled."""
        expected_s = self._clock().mono_s + TICK_S
        while True:
            await asyncio.sleep(TICK_S)
            expected_s = self.tick(expected_s) + TICK_S

    def tick(self, expected_s: float) -> float:
        """One tick that was due at `expected_s`; the time it came."""
        now = self._clock()
        self._late_s.append(max(0.0, now.mono_s - expected_s))
        self._on_tick(now)
        return now.mono_s
