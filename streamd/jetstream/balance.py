"""Decides when a worker lets others have one of its partitions. Pure arithmetic."""

from collections import deque

LOOKS = 3
"""A worker gives a partition away only if it had too many at so many looks in succession."""


class Balance:
    """The share of one worker.

    Nobody knows the workers; but each one asks for every partition that it does not have. So the number of
    others that wait for a partition, and oneself, are the workers. It fluctuates, as requests are made anew:
    the smallest number of the last looks counts, so that no partition is moved by mistake. With 8 partitions
    and 3 workers, nobody gives away a third one: shares of 3, 3 and 2 stay as they are.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._workers: deque[int] = deque(maxlen=LOOKS)

    def look(self, owned: int, waiting_others: int) -> bool:
        """Note how many other workers wait; whether this one, which has `owned` partitions, has too many."""
        self._workers.append(1 + waiting_others)
        share = -(-self._partitions // min(self._workers))
        return len(self._workers) == LOOKS and owned > share

    def forget(self) -> None:
        """Begin anew, because a partition was given away."""
        self._workers.clear()
