"""When a queue that fills will be full: a probability for each time, and a band of times.

The inflow less the outflow has a drift d (records a second) that was measured over w seconds, and a variance
rate v (records² a second). After t seconds the sum is normal with the mean `d·t` and the variance
`v·t·(1 + t/w)`: the noise to come, and the error of the measured drift.
"""

import math
from typing import NamedTuple

Z_90 = 1.6448536269514722
"""The quantile of the normal distribution for a band that covers 90 %."""


class FullIn(NamedTuple):
    """Seconds until the queue is full. `high_s` None: within the band it may never be full."""

    low_s: float
    median_s: float
    high_s: float | None


def overflow_probability(
    room: float, drift_per_s: float, variance_per_s: float, window_s: float, horizon_s: float
) -> float:
    """The probability that the queue has no room left after `horizon_s`: Φ((d·t - R) / √(v·t·(1 + t/w)))."""
    if room <= 0:
        return 1.0
    if horizon_s <= 0:
        return 0.0
    excess = drift_per_s * horizon_s - room
    spread = math.sqrt(max(0.0, variance_per_s) * horizon_s * (1 + horizon_s / window_s))
    if spread == 0:
        return 1.0 if excess >= 0 else 0.0
    return 0.5 * math.erfc(-excess / (spread * math.sqrt(2)))


def time_to_full(
    room: float, drift_per_s: float, variance_per_s: float, window_s: float, z: float = Z_90
) -> FullIn | None:
    """The band of times in which the queue becomes full; None if it does not fill.

    The ends of the band are the roots of `(d² - z²v/w)·t² - (2dR + z²v)·t + R² = 0` with the room R. If the
    first coefficient is not above 0, the drift may be 0 or less, and the upper end is never.
    """
    if drift_per_s <= 0:
        return None
    if room <= 0:
        return FullIn(0.0, 0.0, 0.0)
    noise = z * z * max(0.0, variance_per_s)
    first = drift_per_s * drift_per_s - noise / window_s
    second = 2 * drift_per_s * room + noise
    # The discriminant and the smaller root in the forms that do not subtract nearly equal numbers.
    root = math.sqrt(noise * (4 * drift_per_s * room + noise + 4 * room * room / window_s))
    low_s = 2 * room * room / (second + root)
    return FullIn(low_s, room / drift_per_s, (second + root) / (2 * first) if first > 0 else None)
