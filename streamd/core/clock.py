"""The one place that reads the clock; the logic never imports it."""

import time

from streamd.core.now import Now


def read_clock() -> Now:
    """Both clocks, read now."""
    return Now(time.time(), time.monotonic())
