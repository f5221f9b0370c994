"""Which windows are complete."""

from streamd.core.upstream import Upstream
from streamd.windows.moments import NEVER, US

MOST_LOSSES = 64
"""Times of losses that are remembered; beyond that, neighbours become one."""


class Losses:
    """Knows when records of the pipeline's sources were lost.

    A window is complete unless it began before the daemon listened (a source that continues where it stopped,
    like `file`, misses nothing), or a loss happened while it was open or in its time.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._lost = upstream.lost()
        self._looked_us = NEVER
        self._times: list[list[int]] = []
        """From when to when records were lost, in order."""
        self.seen = 0
        """How often losses were seen. A pane notes the number when it opens."""

    def look(self, wall_s: float) -> None:
        """Note the losses since the last look."""
        now_us = round(wall_s * US)
        lost = self._upstream.lost()
        if lost > self._lost:
            self.seen += 1
            since_us = now_us if self._looked_us == NEVER else min(self._looked_us, now_us)
            if self._times and since_us <= self._times[-1][1]:
                self._times[-1][1] = max(self._times[-1][1], now_us)
            else:
                self._times.append([since_us, now_us])
            if len(self._times) > MOST_LOSSES:
                self._times[0][1] = self._times.pop(1)[1]
        self._lost = lost
        self._looked_us = now_us

    def spare(self, start_us: int, end_us: int, seen: int) -> bool:
        """Whether a window is complete whose first pane noted `seen` losses."""
        since_s = self._upstream.since_wall_s
        if seen != self.seen or (since_s is not None and start_us < since_s * US):
            return False
        return not self._times or not any(
            since < end_us and start_us <= until for since, until in self._times
        )
