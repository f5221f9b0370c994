"""What every detector has to be better than: constant flags, random flags, and fixed limits."""

import itertools
import random
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from streamd.anomalies.detector import KeyModel
from streamd.anomalies.persistence import Persistence
from tests.evaluation.choice import Candidate, best
from tests.evaluation.detectors import FOR
from tests.evaluation.events import Outcome
from tests.evaluation.series import Series

SEEDS = 20


def constant(series: Series, *, flag: bool) -> Outcome:
    """Each record flagged, or none."""
    return series.judge([flag] * len(series.records), series.second_half)


def at_random(series: Series, rate: float) -> Outcome:
    """Each record flagged with the probability `rate`: the sum over `SEEDS` runs."""
    found = Outcome()
    for seed in range(SEEDS):
        draw = random.Random(f"{series.name} {seed}").random  # noqa: S311 - flags are no secrets
        found += series.judge([draw() < rate for _ in series.records], series.second_half)
    return found


@dataclass(frozen=True, slots=True)
class FixedLimits:
    """A value is flagged outside of two limits."""

    field: str
    low: float
    high: float
    persistence: str | None = None

    def flags(self, series: Series) -> list[bool]:
        models: dict[Any, KeyModel] = defaultdict(KeyModel)
        flags: list[bool | None] = []
        for record in series.records:
            value: Any = record.get(self.field)
            flags.append(not self.low <= value <= self.high if _is_number(value) else None)
        Persistence.parse(self.persistence or "1 of 1").judge([models[key] for key in series.keys], flags)
        return [flag is True for flag in flags]


OUTSIDE = (0.05, 0.01, 0.001, 0.0)
"""Which share of the normal values of the first half is below the lower limit, and above the upper one."""
WIDER = (0.1, 0.5, 2.0)
"""By which part of their range the limits are wider than the normal values of the first half."""


def fixed_limits(series: Series) -> FixedLimits:
    """The best limits by the first half, on the best field."""

    def outcome(limits: FixedLimits) -> Outcome:
        return series.judge(limits.flags(series), series.first_half)

    return best([one for field in series.fields for one in _limits(series, field)], outcome)


def _limits(series: Series, field: str) -> list[Candidate[FixedLimits]]:
    given = zip(series.records, series.labels, strict=True)
    normal = sorted(
        record[field]
        for record, label in itertools.islice(given, series.half)
        if not label and _is_number(record.get(field))
    )
    last, range_ = len(normal) - 1, normal[-1] - normal[0]
    ends = [(normal[round(share * last)], normal[last - round(share * last)]) for share in OUTSIDE]
    ends += [(normal[0] - part * range_, normal[-1] + part * range_) for part in WIDER]
    return [
        Candidate(FixedLimits(field, low, high, persistence), width)
        for width, (low, high) in enumerate(ends)
        for persistence in FOR
    ]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
