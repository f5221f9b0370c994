"""The shares of busy, blocked and idle time of each stage over the last seconds."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from streamd.admin.view import StageGauge

WINDOW_S = 10.0
EVERY_S = 1.0
_SAME_S = 0.1
"""If two observations of a stage imply starts further apart than this, a reload has replaced the stage."""


class Shares(NamedTuple):
    """Shares of the time `over_s`. The three sum to 1, or are all 0 if no time has passed."""

    over_s: float
    busy: float
    blocked: float
    idle: float


class Recent:
    """Keeps the times of the stages, once a second, for `WINDOW_S`."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, dict[tuple[str, str], StageGauge]]] = deque()

    def observe(self, stages: Iterable[StageGauge], mono_s: float) -> None:
        """Keep the times of the stages now. Further calls within a second are ignored."""
        if self._seen and mono_s - self._seen[-1][0] < EVERY_S:
            return
        self._seen.append((mono_s, {(stage.kind, stage.name): stage for stage in stages}))
        while len(self._seen) > 1 and mono_s - self._seen[1][0] >= WINDOW_S:
            self._seen.popleft()

    def shares(self, now: StageGauge, mono_s: float) -> Shares:
        """The shares over about the last `WINDOW_S`, or since the stage began if that is later."""
        seen_mono_s, stages = self._seen[0] if self._seen else (mono_s, {})
        before = stages.get((now.kind, now.name))
        if before is None or abs((mono_s - now.elapsed_s) - (seen_mono_s - before.elapsed_s)) > _SAME_S:
            return _shares(now.elapsed_s, now.busy_s, now.blocked_s, now.idle_s)
        return _shares(
            now.elapsed_s - before.elapsed_s,
            now.busy_s - before.busy_s,
            now.blocked_s - before.blocked_s,
            now.idle_s - before.idle_s,
        )


def _shares(over_s: float, busy_s: float, blocked_s: float, idle_s: float) -> Shares:
    if over_s <= 0:
        return Shares(0.0, 0.0, 0.0, 0.0)
    return Shares(over_s, busy_s / over_s, blocked_s / over_s, idle_s / over_s)
