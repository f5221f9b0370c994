"""Decides when a sink commits. Pure arithmetic on the monotonic clock."""

from collections import deque
from statistics import median

from streamd.core.settings import BatchSettings

MOST_TIMES_ENOUGH = 4
"""If more records wait, a commit takes up to 16,000 instead of 4,000. So there are fewer pauses between
commits, in which the database's thread is idle. A larger commit would only delay the next one."""
_RECENT = 5


def most_of_commit(enough: int, buffer_max_records: int) -> int:
    """Most records of one commit, which leave the buffer when it begins."""
    return min(MOST_TIMES_ENOUGH * enough, max(1, buffer_max_records // 2))


class Batcher:
    """Begins at most one commit per `max_wait`, or earlier if enough records wait.

    `max_wait` is measured from the start of the last commit. So a record of a slow stream is committed at
    once, and records of a fast stream are committed together. The duration of recent commits is subtracted,
    up to half of `max_wait`, because the commit of a record should end within `max_wait`.
    """

    def __init__(self, settings: BatchSettings, buffer_max_records: int) -> None:
        self.max_wait_s = settings.max_wait
        self.enough = min(settings.max_records, max(1, buffer_max_records // 2))
        self.most = most_of_commit(settings.max_records, buffer_max_records)
        """Most records of one commit."""
        self.last_start_mono_s = float("-inf")
        """When the last commit began, or the first attempt of one that was tried again."""
        self._commit_s = 0.0
        self._took_s: deque[float] = deque(maxlen=_RECENT)

    def wait_s(self, waiting: int, mono_s: float) -> float:
        """How long to wait for more records if `waiting` records are there; 0: commit now."""
        if waiting >= self.enough:
            return 0.0
        ahead_s = min(self._commit_s, self.max_wait_s / 2)
        return max(0.0, self.last_start_mono_s + self.max_wait_s - ahead_s - mono_s)

    def started(self, mono_s: float) -> None:
        """Note that a commit begins."""
        self.last_start_mono_s = mono_s

    def ended(self, mono_s: float) -> None:
        """Note that the commit has ended. The longest recent duration decays by 1/8 with each commit."""
        took_s = mono_s - self.last_start_mono_s
        self._commit_s = max(took_s, self._commit_s * 7 / 8)
        self._took_s.append(took_s)

    @property
    def usual_s(self) -> float:
        """The median of the last five durations, which two hung commits do not change. 0 before the first."""
        return median(self._took_s) if self._took_s else 0.0
