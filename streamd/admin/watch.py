"""Observes the event loop, the queues and the stages, to find out whether data flows and where it waits."""

from streamd.admin.history import History
from streamd.admin.lag import LoopLag
from streamd.admin.outlook import Outlooks
from streamd.admin.readiness import Readiness
from streamd.admin.recent import Recent
from streamd.admin.view import View
from streamd.core.now import Now


class Watch:
    """The lag of the loop, the readiness, the recent shares, the outlook and the history.

    `run` keeps them current.
    """

    def __init__(self, view: View) -> None:
        self.lag = LoopLag(view.clock)
        self.readiness = Readiness(view, self.lag)
        self.recent = Recent()
        self.outlooks = Outlooks(view)
        self.history = History(view)
        self.began_mono_s = view.clock().mono_s
        self._view = view

    async def run(self) -> None:
        """Observe about twice a second, until cancelled."""
        await self.lag.run(self._observe)

    def seq(self, now: Now) -> int:
        """The number of the second. It begins with 0 and grows by 1 each second of the daemon's run."""
        return int(now.mono_s) - int(self.began_mono_s)

    def _observe(self, now: Now) -> None:
        self.readiness.observe(now)
        self.recent.observe(self._view.stages(), now.mono_s)
        self.outlooks.observe(now, self.lag.worst_s)
        self.history.observe(now.wall_s, self.seq(now))
