"""The one place that reads the clock; the logic never imports it."""

import time
from collections.abc import Callable

from streamd.core.now import Now


def read_clock() -> Now:
    """Both clocks, read now."""
    return Now(time.time(), time.monotonic())


def mono_of(clock: Callable[[], Now]) -> Callable[[], float]:
    """The monotonic half of a clock: of `read_clock` for a seventh of the time."""
    return time.monotonic if clock is read_clock else lambda: clock().mono_s
