"""Watches the event loop, the queues and the stages, to answer whether data flows and where it waits."""

from streamd.admin.lag import LoopLag
from streamd.admin.readiness import Readiness
from streamd.admin.recent import Recent
from streamd.admin.view import View
from streamd.core.now import Now


class Watch:
    """The delay of the event loop, and what has stood still; both are up to date while `run` does."""

    def __init__(self, view: View) -> None:
        self.lag = LoopLag(view.clock)
        self.readiness = Readiness(view, self.lag)
        self.recent = Recent()
        self._view = view

    async def run(self) -> None:
        """Look about twice a second, until cancelled."""
        await self.lag.run(self._look)

    def _look(self, now: Now) -> None:
        self.readiness.observe(now)
        self.recent.observe(self._view.stages(), now.mono_s)
