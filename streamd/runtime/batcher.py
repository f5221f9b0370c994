"""When a sink commits: pure arithmetic on the monotonic clock."""

from streamd.core.settings import BatchSettings


class Batcher:
    """The first commit at once, then at most one a `max_wait`, earlier when enough records wait.

    The wait counts from the start of the commit before, so a slow stream's records are committed as they
    come and a fast one's in company; a record never waits longer than `max_wait` for company.
    """

    def __init__(self, settings: BatchSettings, buffer_max_records: int) -> None:
        self.max_wait_s = settings.max_wait
        self.enough = max(1, min(settings.max_records, buffer_max_records // 2))
        self._last_start_s = float("-inf")

    def wait_s(self, waiting: int, mono_s: float) -> float:
        """How long to wait for more, with `waiting` records there already; 0: commit now."""
        if waiting >= self.enough:
            return 0.0
        return max(0.0, self._last_start_s + self.max_wait_s - mono_s)

    def started(self, mono_s: float) -> None:
        """A commit begins."""
        self._last_start_s = mono_s
