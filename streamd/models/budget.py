"""A pause for a model whose batches take too long."""

_PATIENCE = 3
"""So many batches in a row over the budget begin a pause. One slow batch has many causes."""


class Budget:
    """Says whether a model may run. It judges by the batches before, since a run cannot be ended.

    After three batches in a row that took longer than `most_s` there is a pause of `pause_s`. Then one batch
    is tried: within the budget it ends the pause, else the next pause begins.
    """

    def __init__(self, most_s: float, pause_s: float) -> None:
        self._most_s = most_s
        self._pause_s = pause_s
        self._over = 0
        """Batches in a row that took too long."""
        self._until_s: float | None = None
        """The end of the pause (monotonic seconds)."""

    @property
    def is_pausing(self) -> bool:
        """Whether the last batch that ran has begun or continued a pause."""
        return self._until_s is not None

    def allows(self, now_s: float) -> bool:
        """Whether a batch may run now (monotonic seconds)."""
        return self._until_s is None or now_s >= self._until_s

    def took(self, run_s: float, now_s: float) -> bool:
        """Note how long a batch took. True if this begins or ends a pause."""
        was_pausing = self.is_pausing
        if run_s <= self._most_s:
            self._over, self._until_s = 0, None
        else:
            self._over += 1
            if was_pausing or self._over >= _PATIENCE:
                self._until_s = now_s + self._pause_s
        return self.is_pausing != was_pausing
