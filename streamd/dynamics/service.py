"""The service time of a stage, fitted as `a + c·b`: a cost of each batch and of each of its records."""

import math
from typing import NamedTuple

HALF_LIFE_S = 30.0
"""Busy seconds after which an observation has half its weight."""
UNCERTAIN = 0.25
"""With a larger relative standard error the fitted time of a batch is not used."""
_COSTS = 2
_RIDGE = 1e-9
"""Keeps the equations solvable while every batch has the same size."""


class ServiceTime(NamedTuple):
    """Seconds for each batch (`a`) and for each record of it (`c`)."""

    batch_s: float
    record_s: float

    def capacity_per_s(self, batch: float) -> float:
        """Records a second in batches of `batch` records: `b / (a + c·b)`. Infinite if nothing costs time."""
        seconds = self.batch_s + self.record_s * batch
        return batch / seconds if seconds > 0 else math.inf


class ServiceFit:
    """Fits the service time by weighted least squares over intervals of observation.

    Departures a second are the inflow, not the capacity, while no record waits. So the fit uses busy time. An
    interval with `n` batches, `b` records and `busy_s` seconds of work gives `a·n + c·b = busy_s`. This
    is divided by the square root of `n`, because the variance of a sum grows with its terms. Older intervals
    weigh less (recursive least squares with exponential forgetting; Ljung, "System Identification", 1999,
    section 11.2). Costs below 0 mean nothing, so a negative one is set to 0 and the other fitted alone.
    """

    __slots__ = ("_bb", "_bt", "_intervals", "_nb", "_nn", "_nt", "_tt", "busy_s")

    def __init__(self) -> None:
        self._nn = self._nb = self._bb = self._nt = self._bt = self._tt = self._intervals = 0.0
        self.busy_s = 0.0
        """Weighted seconds of work that the fit rests on."""

    def observe(self, batches: int, records: int, busy_s: float) -> None:
        """Enter an interval of observation. One without a finished batch is ignored."""
        if batches <= 0 or records < 0 or busy_s < 0:
            return
        kept = 0.5 ** (busy_s / HALF_LIFE_S)
        n, b, t = float(batches), float(records), busy_s
        self._nn = self._nn * kept + n
        self._nb = self._nb * kept + b
        self._bb = self._bb * kept + b * b / n
        self._nt = self._nt * kept + t
        self._bt = self._bt * kept + b * t / n
        self._tt = self._tt * kept + t * t / n
        self._intervals = self._intervals * kept + 1
        self.busy_s = self.busy_s * kept + busy_s

    @property
    def is_known(self) -> bool:
        """Whether any work on records was observed."""
        return self._bb > 0

    @property
    def time(self) -> ServiceTime | None:
        """The fitted service time. None without an observation of records."""
        if not self.is_known:
            return None
        determinant = self._determinant
        if determinant == 0:  # batches of one size: the split is not visible
            return ServiceTime(0.0, self._bt / self._bb)
        batch_s = (self._nt * self._bb - self._bt * self._nb) / determinant
        record_s = (self._bt * self._nn - self._nt * self._nb) / determinant
        if batch_s < 0:
            return ServiceTime(0.0, self._bt / self._bb)
        if record_s < 0:
            return ServiceTime(self._nt / self._nn, 0.0)
        return ServiceTime(batch_s, record_s)

    def capacity_per_s(self, max_batch: float) -> float | None:
        """Records a second in batches of `max_batch`. None if nothing is known.

        Batches grow under load, so the rate of small ones says too little. But a fit of small batches alone
        may say nothing of large ones. If its standard error there is above `UNCERTAIN`, the answer is the
        rate in batches of the seen size, which is too low rather than too high.
        """
        time = self.time
        if time is None:
            return None
        if self._relative_error(time, max_batch) > UNCERTAIN:
            return self._nb / self._nt if self._nt > 0 else math.inf
        return time.capacity_per_s(max_batch)

    @property
    def _determinant(self) -> float:
        found = self._nn * self._bb - self._nb * self._nb
        return found if found > _RIDGE * self._nn * self._bb else 0.0

    def _relative_error(self, time: ServiceTime, batch: float) -> float:
        """The standard error of the fitted time of a batch, divided by this time."""
        expected_s = time.batch_s + time.record_s * batch
        determinant = self._determinant
        if expected_s <= 0:
            return 0.0
        if determinant == 0:
            # With one size of batches only this size is known.
            return 0.0 if batch <= self._nb / self._nn * 1.01 else math.inf
        if self._intervals <= _COSTS:
            return math.inf
        residual = self._tt - time.batch_s * self._nt - time.record_s * self._bt
        variance = max(0.0, residual) / (self._intervals - _COSTS)
        leverage = (self._bb - 2 * batch * self._nb + batch * batch * self._nn) / determinant
        return math.sqrt(variance * max(0.0, leverage)) / expected_s
