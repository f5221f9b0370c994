"""Departures that come in long batches, spread over the time that a batch takes."""

_LONGEST_S = 20.0
"""A stage that takes nothing for longer stands still."""


class Spread:
    """Turns records taken at once, every few seconds, into a steady flow of the same sum.

    A stage that works on 1,024 records for two seconds takes 512 a second. Its counter stands still and then
    jumps, which looks like a stage that has stopped and one that is four times as fast.
    """

    def __init__(self) -> None:
        self._seen_mono_s: float | None = None
        self._taken_mono_s = 0.0
        self._before = 0
        """What had left before the last records were taken."""
        self._left = 0
        self._over_s = 0.0
        """The time over which the last records are spread: the time that the ones before took."""
        self._worked_on = False

    def observe(self, mono_s: float, left: int, *, is_working: bool) -> float:
        """Enter the counter; returns the smoothed one, which never exceeds it.

        `is_working`: whether the stage was busy since the last call. A stage that waited for records takes
        them when they come, so they are not spread.
        """
        since_s = 0.0 if self._seen_mono_s is None else mono_s - self._seen_mono_s
        self._seen_mono_s = mono_s
        self._worked_on = self._worked_on and is_working
        if left != self._left:
            took_s = mono_s - self._taken_mono_s
            self._over_s = took_s if self._worked_on and took_s <= _LONGEST_S else 0.0
            self._before = min(self._left, left)
            self._taken_mono_s, self._left, self._worked_on = mono_s, left, True
        done_s = mono_s - self._taken_mono_s + since_s
        if done_s >= self._over_s:
            return left
        return self._before + (left - self._before) * done_s / self._over_s
