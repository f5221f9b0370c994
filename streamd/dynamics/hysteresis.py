"""An alarm that does not flutter: it begins at a high value, ends at a low one, and each must last."""


class Hysteresis:
    """Is on from `on_at`, held for `hold_s`, until the value has been below `off_below` for `hold_s`."""

    __slots__ = ("_hold_s", "_off_below", "_on_at", "_since_mono_s", "is_on")

    def __init__(self, on_at: float, off_below: float, hold_s: float) -> None:
        self.is_on = False
        self._on_at = on_at
        self._off_below = off_below
        self._hold_s = hold_s
        self._since_mono_s: float | None = None

    def observe(self, value: float, mono_s: float) -> bool:
        """Enter the value at `mono_s`. True: the alarm has begun or ended just now."""
        differs = value < self._off_below if self.is_on else value >= self._on_at
        if not differs:
            self._since_mono_s = None
            return False
        if self._since_mono_s is None:
            self._since_mono_s = mono_s
        if mono_s - self._since_mono_s < self._hold_s:
            return False
        self.is_on = not self.is_on
        self._since_mono_s = None
        return True
