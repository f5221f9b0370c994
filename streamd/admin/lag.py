"""Measures the delay of the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from streamd.core.now import Now

TICK_S = 0.5
WINDOW_TICKS = 20

log = structlog.get_logger()


class LoopLag:
    """Sleeps one tick at a time and keeps the delay of each wake-up for the last ten seconds.

    A callback that blocks the loop for a second shows as a lag between half a second and one second.
    """

    def __init__(self, clock: Callable[[], Now]) -> None:
        self._clock = clock
        self._late_s: deque[float] = deque(maxlen=WINDOW_TICKS)

    @property
    def worst_s(self) -> float:
        """The longest delay of the last ten seconds."""
        return max(self._late_s, default=0.0)

    async def run(self, on_tick: Callable[[Now], None]) -> None:
        """Tick until cancelled, and call `on_tick` at each tick."""
        while True:
            due_s = self._clock().mono_s + TICK_S
            await asyncio.sleep(TICK_S)
            now = self._clock()
            self.observe(now.mono_s - due_s)
            try:
                on_tick(now)
            except Exception:
                log.exception("admin_watch_failed")

    def observe(self, late_s: float) -> None:
        """Enter a tick that was `late_s` late."""
        self._late_s.append(max(0.0, late_s))
