"""Observes the event loop, the queues and the stages, to find out whether data flows and where it waits."""

from streamd.admin.lag import LoopLag
from streamd.admin.readiness import Readiness
from streamd.admin.recent import Recent
from streamd.admin.view import View
from streamd.core.now import Now


class Watch:
    """The lag of the event loop, the readiness and the recent shares. They are current while `run` runs."""

    def __init__(self, view: View) -> None:
        self.lag = LoopLag(view.clock)
        self.readiness = Readiness(view, self.lag)
        self.recent = Recent()
        self._view = view

    async def run(self) -> None:
        """Observe about twice a second, until cancelled."""
        await self.lag.run(self._observe)

    def _observe(self, now: Now) -> None:
        self.readiness.observe(now)
        self.recent.observe(self._view.stages(), now.mono_s)
