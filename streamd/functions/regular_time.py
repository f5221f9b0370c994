import math

from streamd.core.now import Now

_EARLY_S = 0.001
"""A timer may be early by less than that."""


class RegularTime:
    """The next multiple of a period since 1970 by the wall clock, as a deadline.

    So the times are the same after a restart. The clock is not known before the first call of `set`: until
    then it is due at once.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self.is_set = False
        self.due_mono_s = 0.0

    def set(self, now: Now) -> None:
        """Be due at the first multiple after `now`."""
        every_s = self._every_s
        reached_s = now.wall_s + min(_EARLY_S, every_s / 10)
        due_wall_s = (math.floor(reached_s / every_s) + 1) * every_s
        self.due_mono_s = now.mono_s + due_wall_s - now.wall_s
        self.is_set = True
