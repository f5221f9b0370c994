"""When a sink commits: pure arithmetic on the monotonic clock."""

from streamd.core.settings import BatchSettings

_MOST_TIMES_ENOUGH = 4
"""Where more wait, a commit takes 16,000 records instead of 4,000: there are fewer pauses between commits, in
which the database's thread has nothing to do. A larger one would only make the next one wait."""


class Batcher:
    """The first commit at once, then at most one a `max_wait`, earlier when enough records wait.

    The wait counts from the start of the commit before, so a slow stream's records are committed as they
    come and a fast one's in company. What commits have taken of late is taken off, up to half of the wait:
    a record should be committed within `max_wait`, not begin to be.
    """

    def __init__(self, settings: BatchSettings, buffer_max_records: int) -> None:
        self.max_wait_s = settings.max_wait
        half = max(1, buffer_max_records // 2)
        self.enough = min(settings.max_records, half)
        self.most = min(_MOST_TIMES_ENOUGH * settings.max_records, half)
        """What one commit takes where more than enough records wait."""
        self._last_start_s = float("-inf")
        self._commit_s = 0.0

    def wait_s(self, waiting: int, mono_s: float) -> float:
        """How long to wait for more, with `waiting` records there already; 0: commit now."""
        if waiting >= self.enough:
            return 0.0
        ahead_s = min(self._commit_s, self.max_wait_s / 2)
        return max(0.0, self._last_start_s + self.max_wait_s - ahead_s - mono_s)

    def started(self, mono_s: float) -> None:
        """A commit begins."""
        self._last_start_s = mono_s

    def ended(self, mono_s: float) -> None:
        """It is committed; the longest of late counts, and fades by an eighth with each commit."""
        self._commit_s = max(mono_s - self._last_start_s, self._commit_s * 7 / 8)
