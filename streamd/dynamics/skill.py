"""Whether forecasts of an event are better than its base rate (Brier skill score)."""

from collections import deque
from typing import NamedTuple

MEMORY = 600
"""Forecasts that are compared."""
FEWEST = 30
"""Fewer forecasts with a known outcome show nothing."""


class _Pending(NamedTuple):
    due_mono_s: float
    probability: float


class Skill:
    """Scores forecasts that an event begins within a horizon.

    `score` is `1 - B / B_base` (Brier, 1950; Murphy, 1973). `B` is the mean squared error of the forecast
    probabilities; `B_base` that of a forecaster who always says the share of events among the same forecasts.
    That share is known only afterwards, so a score above 0 is more than a fair comparison would ask.
    """

    def __init__(self, horizon_s: float) -> None:
        self.horizon_s = horizon_s
        self._waiting: deque[_Pending] = deque()
        self._scored: deque[tuple[float, bool]] = deque(maxlen=MEMORY)

    def observe(self, mono_s: float, probability: float | None, *, happens: bool) -> None:
        """Enter whether the event happens now, and the forecast that is made now (None: none).

        While it happens there is nothing to foresee, so the forecast is not used.
        """
        if happens:
            while self._waiting:
                forecast = self._waiting.popleft()
                self._scored.append((forecast.probability, forecast.due_mono_s >= mono_s))
            return
        while self._waiting and self._waiting[0].due_mono_s < mono_s:
            self._scored.append((self._waiting.popleft().probability, False))
        if probability is not None:
            self._waiting.append(_Pending(mono_s + self.horizon_s, probability))

    @property
    def base_rate(self) -> float | None:
        """The share of forecasts after which the event came. None before any outcome is known."""
        return sum(happened for _, happened in self._scored) / len(self._scored) if self._scored else None

    @property
    def score(self) -> float | None:
        """The skill: 1 perfect, 0 that of the base rate. None while it cannot be known.

        It cannot be known from fewer than `FEWEST` forecasts, nor while all of them had the same outcome.
        """
        base = self.base_rate
        count = len(self._scored)
        if base is None or count < FEWEST or not 0 < base < 1:
            return None
        error = sum((probability - happened) ** 2 for probability, happened in self._scored) / count
        return 1 - error / (base * (1 - base))
