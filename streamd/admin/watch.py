"""Watches the event loop and the queues, to answer whether data flows."""

from streamd.admin.lag import LoopLag
from streamd.admin.readiness import Readiness
from streamd.admin.view import View


class Watch:
    """The delay of the event loop, and what has stood still; both are up to date while `run` does."""

    def __init__(self, view: View) -> None:
        self.lag = LoopLag(view.clock)
        self.readiness = Readiness(view, self.lag)

    async def run(self) -> None:
        """Look about twice a second, until cancelled."""
        await self.lag.run(self.readiness.observe)
