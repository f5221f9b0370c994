"""The step `drift` under evaluation: its methods and baselines, and what they find in all series together."""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamd import registry
from streamd.core.contracts import Step, StepContext
from streamd.core.now import Now
from tests.evaluation.change_series import WITHIN, ChangeSeries
from tests.evaluation.changes import Found, judge_changes
from tests.evaluation.choice import Candidate, best
from tests.evaluation.detectors import BATCH, Options

SEEDS = 20
_BEGAN_AT_S = 1.7e9
Reports = Callable[[ChangeSeries], Sequence[int]]


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A detector, and what it found in the second half of each series."""

    detector: str
    options: Options = field(default_factory=dict)
    by_series: tuple[Found, ...] = ()
    at_random: Found | None = None

    @property
    def found(self) -> Found:
        return sum(self.by_series, Found())


def reports(series: ChangeSeries, options: Options, until: int) -> list[int]:
    """The records at which the step reports a change. It gets the first ones, one a second."""
    cls = registry.load("steps", "drift")
    config = cls.Config(value="value", emit="flag", **options)
    step: Step[Any] = cls(config, StepContext("drift[0]", "evaluation", None, Path()))
    step.open()
    found: list[int] = []
    for first in range(0, until, BATCH):
        batch: list[dict[str, Any]] = [
            {"value": value} for value in series.values[first : min(first + BATCH, until)]
        ]
        done = step.process(batch, Now(_BEGAN_AT_S + first, float(first))).records
        found += [first + n for n, record in enumerate(done) if record["drift"] is not None]
    return found


def _grid(method: str) -> Iterator[Candidate[Options]]:
    """The most sensitive first."""
    if method == "adwin":
        for (width, confidence), fewest in itertools.product(enumerate((0.1, 0.01, 0.002, 1e-4)), (100, 30)):
            yield Candidate({"method": method, "confidence": confidence, "min_samples": fewest}, width)
        return
    for (width, threshold), slack, fewest in itertools.product(
        enumerate((5.0, 10.0, 20.0, 40.0)), (0.5, 1.0), (100, 30)
    ):
        yield Candidate(
            {"method": method, "threshold": threshold, "slack": slack, "min_samples": fewest}, width
        )


def _judged(all_series: Sequence[ChangeSeries], found: Reports, *, first_half: bool) -> tuple[Found, ...]:
    return tuple(
        judge_changes(
            series.marked, found(series), series.first_half if first_half else series.second_half, WITHIN
        )
        for series in all_series
    )


def chosen(all_series: Sequence[ChangeSeries], method: str) -> Options:
    """The best options for all series together, by their first halves."""

    def outcome(options: Options) -> Found:
        found = _judged(all_series, lambda series: reports(series, options, series.half), first_half=True)
        return sum(found, Found())

    return best(_grid(method), outcome)


def jumps(series: ChangeSeries, limit: float) -> list[int]:
    """The plain threshold: a value that differs from the one before it by more than `limit`."""
    pairs = enumerate(itertools.pairwise(series.values), 1)
    return [place for place, (before, value) in pairs if abs(value - before) > limit]


JUMPS = ((0.9, 1.0), (0.95, 1.0), (0.99, 1.0), (1.0, 1.0), (1.0, 2.0))
"""The limit: a quantile of the jumps in the first half, and a factor."""


def jump_limit(series: ChangeSeries, quantile: float, factor: float) -> float:
    sizes = sorted(abs(value - before) for before, value in itertools.pairwise(series.values[: series.half]))
    return sizes[round(quantile * (len(sizes) - 1))] * factor


def of_jumps(all_series: Sequence[ChangeSeries]) -> ChangeRow:
    def found(limits: tuple[float, float]) -> Reports:
        return lambda series: jumps(series, jump_limit(series, *limits))

    limits = best(
        [Candidate(one, width) for width, one in enumerate(JUMPS)],
        lambda one: sum(_judged(all_series, found(one), first_half=True), Found()),
    )
    options = {"quantile": limits[0], "factor": limits[1]}
    return _row(all_series, "a jump", options, found(limits))


def of_options(all_series: Sequence[ChangeSeries], detector: str, options: Options) -> ChangeRow:
    """The step sees each series from its beginning, and is judged on the second half."""
    return _row(all_series, detector, options, lambda series: reports(series, options, len(series.values)))


def all_rows(all_series: Sequence[ChangeSeries]) -> Iterator[ChangeRow]:
    yield _row(all_series, f"every {WITHIN} records", {}, lambda series: range(0, len(series.values), WITHIN))
    yield _row(all_series, "never", {}, lambda _: [])
    yield of_jumps(all_series)
    for method in ("adwin", "cusum", "page_hinkley"):
        yield of_options(all_series, f"`{method}`, defaults", {"method": method})
        yield of_options(all_series, f"`{method}`, chosen", chosen(all_series, method))


def _row(all_series: Sequence[ChangeSeries], detector: str, options: Options, found: Reports) -> ChangeRow:
    by_series = _judged(all_series, found, first_half=False)
    return ChangeRow(detector, options, by_series, _at_random(all_series, by_series))


def _at_random(all_series: Sequence[ChangeSeries], by_series: Sequence[Found]) -> Found | None:
    """As many reports in each series, at places by lot: the sum of `SEEDS` runs."""
    if not any(found.reports for found in by_series):
        return None
    total = Found()
    for seed, (series, found) in itertools.product(range(SEEDS), zip(all_series, by_series, strict=True)):
        draw = random.Random(f"{series.name} {seed}")  # noqa: S311 - places are no secrets
        places = sorted(draw.sample(series.second_half, found.reports))
        total += judge_changes(series.marked, places, series.second_half, WITHIN)
    return total
