"""The time as an argument. Sources, workers and deliveries read the clock; pure logic gets a `Now`."""

from typing import NamedTuple


class Now(NamedTuple):
    """One reading of the wall clock and the monotonic clock, in seconds. Deadlines use `mono_s` only."""

    wall_s: float
    mono_s: float
