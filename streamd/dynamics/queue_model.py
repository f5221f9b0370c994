"""The model of one queue of a running daemon: observed about twice a second, it says what to expect."""

import math
from typing import NamedTuple

from streamd.dynamics.filling import FullIn, overflow_probability, time_to_full
from streamd.dynamics.hysteresis import Hysteresis
from streamd.dynamics.rates import WINDOWS_S, Flow, Rates
from streamd.dynamics.service import ServiceFit
from streamd.dynamics.shared_core import shared_core_capacity
from streamd.dynamics.skill import Skill
from streamd.dynamics.slack import slack_s
from streamd.dynamics.sojourn import TARGET_S, MinimumSojourn
from streamd.dynamics.spread import Spread
from streamd.dynamics.waiting import wait_s

HORIZONS_S = (60.0, 10.0)
"""An overflow is forecast for the longest of these times for which forecasts are not known to fail."""
ALARM_AT, ALARM_BELOW, ALARM_HOLD_S = 0.5, 0.2, 1.0
"""The alarm begins at this probability of an overflow and ends below the other, each held for so long."""
_FORECAST_EVERY_S = 1.0
_IDLE_SHARE = 0.05
"""A stage that is idle for more of the time has no backlog, even if records wait whenever one looks."""
_WARM_UP_S = 0.9
"""A drift over a shorter time is mostly noise: nothing is forecast."""
_UNLIKELY = 0.05
_FORECASTS = ("bursts", "state")
_LONG_WAIT_S = 1.0
"""A stage that waits longer on purpose, as a sink that makes a file a minute, is seen to rest."""
_REST_S = 5.0
"""For so long after a rest nothing is forecast: a stage that rests can take more than comes."""


class QueueSample(NamedTuple):
    """What is seen of a queue and of the stage behind it. Counters are cumulative since the daemon began."""

    mono_s: float
    arrived: int
    """Records that were put into the queue or dropped because it was full."""
    left: int
    """Records that the stage took."""
    records: int
    size_bytes: int
    max_records: int
    max_bytes: int
    batches: int
    """Batches that the stage has finished, from all its queues."""
    worked: int
    """Records in these batches."""
    busy_s: float
    idle_s: float
    max_batch: int
    least_wait_s: float | None = None
    """The least wait of the records taken since the last sample; None if none was taken."""
    overflows: int = 0
    """Records dropped because the queue was full, or how often it stopped its source."""
    intended_wait_s: float = 0.0
    """How long the stage lets records wait for others on purpose, as `max_wait` of a sink."""
    later_per_s: float = math.inf
    """The capacity of the slowest stage behind it that is measured apart, as a step that waits."""
    read_s: float = 0.0
    """Seconds of the same core that reading a record costs."""
    others_per_s: float = 0.0
    """Records a second that the stage takes from other queues."""
    kernel_free_bytes: int | None = None
    """Free bytes of the kernel's queue before this one; None if there is none or it is not known."""
    kernel_record_bytes: float = 0.0
    """Bytes that a record needs in the kernel's queue."""


class QueueOutlook(NamedTuple):
    """The state of a queue and its forecast. Rates are records a second."""

    in_per_s: float
    out_per_s: float
    capacity_per_s: float | None
    utilization: float | None
    drift_per_s: float
    """Arrivals less what the stage can take. Below 0 the queue empties, or stays empty."""
    records: int
    max_records: int
    bytes: int
    max_bytes: int
    bound: str
    """`records` or `bytes`: the bound that is reached first."""
    wait_s: float | None
    min_sojourn_s: float | None
    standing_queue: bool
    full_in_s: FullIn | None
    overflow_probability: float | None
    horizon_s: float
    overflow_expected: bool
    has_forecast: bool
    skill: float | None
    loop_slack_s: float | None
    flows: tuple[Flow, ...]
    """The rates over the last 1, 5 and 20 seconds."""


class _Forecast(NamedTuple):
    flow: Flow
    """The rates that it is made of."""
    drift_per_s: float
    full_in_s: FullIn | None
    probabilities: tuple[float, ...]
    """One for each of `HORIZONS_S`; none right after a change."""
    is_calm: bool
    """Whether the evidence is calm enough for a band whose skill is not known yet."""


class QueueModel:
    """dV/dt = I - P of one queue.

    `P` is what leaves while the queue is never empty. Without a backlog departures only repeat the arrivals;
    then the fitted service time of the stage gives `P`, less what other queues take, and less the time that
    reading needs on the same core.

    Two forecasts are made: that the present state lasts, and that the bursts of the last minute go on. The
    one with more skill is given, for the longest horizon for which past forecasts had any. Where the skill is
    not known because the queue never overflowed (or always), the second is given, on calm evidence only: if,
    at 90 %, the measured drift does not change its sign, or an overflow is unlikely.

    A queue also grows while its stage lets records wait on purpose. Then no overflow is forecast, and a
    capacity below the inflow is not known.
    """

    def __init__(self, mono_s: float) -> None:
        self._rates = Rates()
        self._spread = Spread()
        self._service = ServiceFit()
        self._sojourn = MinimumSojourn(mono_s)
        self._skills = [[Skill(horizon_s) for horizon_s in HORIZONS_S] for _ in _FORECASTS]
        self._alarm = Hysteresis(ALARM_AT, ALARM_BELOW, ALARM_HOLD_S)
        self._last: QueueSample | None = None
        self._scored_mono_s = mono_s
        self._rests_until_mono_s = mono_s
        self._has_overflowed = False
        """Whether the queue overflowed since the last forecast that is scored."""
        self._record_bytes = 0.0
        """The mean size of the records that waited when one last looked."""

    def observe(self, now: QueueSample) -> QueueOutlook:
        """Enter a sample; returns the outlook. Samples must not go back in time."""
        last = self._last
        self._last = now
        is_working = is_backlogged = overflows = False
        if last is not None and now.mono_s > last.mono_s:
            seconds = now.mono_s - last.mono_s
            idle_s = now.idle_s - last.idle_s
            if now.intended_wait_s > _LONG_WAIT_S and idle_s >= (1 - _IDLE_SHARE) * seconds:
                self._rests_until_mono_s = now.mono_s + _REST_S
            is_working = idle_s <= _IDLE_SHARE * seconds
            is_backlogged = is_working and min(now.records, last.records) > 0
            overflows = now.overflows > last.overflows
            self._service.observe(
                now.batches - last.batches, now.worked - last.worked, now.busy_s - last.busy_s
            )
        if now.records:
            self._record_bytes = now.size_bytes / now.records
        left = self._spread.observe(now.mono_s, now.left, is_working=is_working)
        self._rates.observe(now.mono_s, now.arrived, left, is_backlogged=is_backlogged)
        self._sojourn.observe(now.least_wait_s, now.mono_s, is_waiting=now.records > 0)
        return self._outlook(now, overflows=overflows)

    def _outlook(self, now: QueueSample, *, overflows: bool) -> QueueOutlook:
        capacity = self._capacity_per_s(now)
        room, bound = self._room(now)
        is_full = overflows or room < 1
        rates = self._rates
        forecasts = [
            self._forecast(room, rates.in_bursts, rates.variance_in_bursts_per_s, capacity),
            self._forecast(room, rates.now, rates.variance_per_s, capacity),
        ]
        if not forecasts[1].probabilities:  # right after a change
            forecasts[1] = forecasts[0]
        self._score(now, forecasts, is_full=is_full)
        which, index, has_forecast = self._chosen(forecasts)
        forecast, skill = forecasts[which], self._skills[which][index].score
        flow = forecast.flow
        full_in = probability = None
        if has_forecast:
            probability = forecast.probabilities[index]
            if forecast.is_calm or skill is not None:
                full_in = forecast.full_in_s
        drift = forecast.drift_per_s
        if now.mono_s < self._rests_until_mono_s:
            has_forecast, full_in, probability, drift = False, None, None, min(0.0, drift)
            capacity = None if capacity is None or capacity < flow.in_per_s else capacity
        if is_full:  # that is no forecast
            has_forecast, full_in, probability = True, FullIn(0.0, 0.0, 0.0), 1.0
        self._alarm.observe(probability or 0.0, now.mono_s)
        least_s = self._sojourn.last_s
        target_s = TARGET_S + now.intended_wait_s
        return QueueOutlook(
            in_per_s=flow.in_per_s,
            out_per_s=flow.out_per_s,
            capacity_per_s=capacity,
            utilization=flow.in_per_s / capacity if capacity else None,
            drift_per_s=drift,
            records=now.records,
            max_records=now.max_records,
            bytes=now.size_bytes,
            max_bytes=now.max_bytes,
            bound=bound,
            wait_s=wait_s(now.records, flow.out_per_s if capacity is None else capacity),
            min_sojourn_s=least_s,
            standing_queue=now.records > 0 and least_s is not None and least_s > target_s,
            full_in_s=full_in,
            overflow_probability=probability,
            horizon_s=HORIZONS_S[index],
            overflow_expected=self._alarm.is_on,
            has_forecast=has_forecast,
            skill=skill,
            loop_slack_s=None
            if now.kernel_free_bytes is None
            else slack_s(now.kernel_free_bytes, flow.in_per_s, now.kernel_record_bytes),
            flows=tuple(self._rates.over(seconds) for seconds in WINDOWS_S),
        )

    def _capacity_per_s(self, now: QueueSample) -> float | None:
        in_backlog = self._rates.backlog_out_per_s
        if in_backlog is not None:
            return in_backlog
        fitted = self._service.capacity_per_s(now.max_batch)
        if fitted is None:
            return None if math.isinf(now.later_per_s) else now.later_per_s
        process_s = 1 / fitted if fitted else math.inf
        found = shared_core_capacity(self._rates.in_bursts.in_per_s, now.read_s, process_s)
        found = min(max(0.0, found - now.others_per_s), now.later_per_s)
        return None if math.isinf(found) else found

    def _room(self, now: QueueSample) -> tuple[float, str]:
        """Records that the queue still takes, and the bound that is reached first."""
        records = float(now.max_records - now.records)
        in_bytes = (
            (now.max_bytes - now.size_bytes) / self._record_bytes if self._record_bytes > 0 else math.inf
        )
        bound = "records" if records <= in_bytes else "bytes"
        return max(0.0, min(records, in_bytes)), bound

    def _forecast(self, room: float, flow: Flow, variance_per_s: float, capacity: float | None) -> _Forecast:
        drift = flow.in_per_s - (flow.out_per_s if capacity is None else capacity)
        if flow.window_s < _WARM_UP_S:
            return _Forecast(flow, drift, None, (), is_calm=False)
        full_in = time_to_full(room, drift, variance_per_s, flow.window_s)
        probabilities = tuple(
            overflow_probability(room, drift, variance_per_s, flow.window_s, horizon_s)
            for horizon_s in HORIZONS_S
        )
        has_end = full_in is not None and full_in.high_s is not None
        if not has_end and max(probabilities) <= _UNLIKELY:
            full_in = None
        # The first seconds of a burst look like a lasting load.
        return _Forecast(flow, drift, full_in, probabilities, is_calm=has_end and self._rates.knows_variance)

    def _score(self, now: QueueSample, forecasts: list[_Forecast], *, is_full: bool) -> None:
        self._has_overflowed = self._has_overflowed or is_full
        if now.mono_s - self._scored_mono_s < _FORECAST_EVERY_S:
            return
        for forecast, skills in zip(forecasts, self._skills, strict=True):
            for probability, skill in zip(forecast.probabilities or (None, None), skills, strict=True):
                skill.observe(now.mono_s, probability, happens=self._has_overflowed)
        self._scored_mono_s = now.mono_s
        self._has_overflowed = False

    def _chosen(self, forecasts: list[_Forecast]) -> tuple[int, int, bool]:
        """Which forecast to give, for which horizon, and whether to give it at all."""
        for index in range(len(HORIZONS_S)):
            scores = [skills[index].score for skills in self._skills]
            known = [(score, which) for which, score in enumerate(scores) if score is not None]
            which = max(known)[1] if known else 0
            probabilities = forecasts[which].probabilities
            if not probabilities:
                continue
            is_calm = forecasts[which].is_calm or probabilities[index] <= _UNLIKELY
            if max(known)[0] > 0 if known else is_calm:
                return which, index, True
        return 0, len(HORIZONS_S) - 1, False
