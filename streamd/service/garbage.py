"""Python's collection of reference cycles, at times when it delays no record."""

import gc

WHOLE_S = 60.0
"""Time between two collections that visit all objects."""


class Garbage:
    """Collects reference cycles.

    A collection that visits all objects stops the event loop for about 0.4 ms for each thousand of them, and
    a connection has ten. So most collections visit only the objects that were made since the last one. An
    object that was alive then and has become garbage is found within `WHOLE_S`.
    """

    def __init__(self, mono_s: float) -> None:
        """Set when Python collects by itself. The first call of `collect` visits all objects."""
        # Nested JSON makes many containers and no cycles. An automatic full collection would stop the loop
        # while it visits the buffered records.
        gc.set_threshold(50_000, 20, 1_000_000)
        self._whole_at_s = mono_s

    def collect(self, mono_s: float) -> None:
        """Collect. Call it while few records wait."""
        if mono_s >= self._whole_at_s:
            gc.unfreeze()
            self._whole_at_s = mono_s + WHOLE_S
        gc.collect()
        gc.freeze()
