"""The clock by which a step ages its state."""

from streamd.core.now import Now


class ArrivalClock:
    """Seconds since some moment: they never go back, and continue after a restart.

    The monotonic clock drives it, so a change of the wall clock has no effect while the step runs. The wall
    clock only tells how long the daemon was stopped.
    """

    __slots__ = ("_offset_s", "at_s", "wall_s")

    def __init__(self) -> None:
        self._offset_s = 0.0
        self.at_s = 0.0
        """The last reading."""
        self.wall_s = 0.0
        """The wall clock at the last reading."""

    def read(self, now: Now) -> float:
        """The reading for `now`."""
        self.wall_s = now.wall_s
        self.at_s = max(self.at_s, now.mono_s + self._offset_s)
        return self.at_s

    def mono_s(self, at_s: float) -> float:
        """The monotonic time of a reading, for a deadline."""
        return at_s - self._offset_s

    def restore(self, wall_s: float, now: Now) -> float:
        """Go on from a clock whose last reading was at `wall_s`; that reading becomes 0.

        Returns the seconds since then, which are the reading for `now`. If the wall clock has gone back, no
        time has passed.
        """
        passed_s = max(0.0, now.wall_s - wall_s)
        self._offset_s = passed_s - now.mono_s
        self.at_s = 0.0
        self.wall_s = wall_s
        return passed_s
