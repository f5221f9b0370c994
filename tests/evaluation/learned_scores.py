"""The step `river` under evaluation: one model over all fields, and a limit for its score."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from streamd import registry
from streamd.core.contracts import Step, StepContext
from streamd.core.now import Now
from tests.evaluation.baselines import FixedLimits
from tests.evaluation.choice import Candidate, best
from tests.evaluation.detectors import BATCH
from tests.evaluation.events import Outcome
from tests.evaluation.series import Series

MODELS = {"half-space trees": "half_space_trees", "LODA": "loda"}
QUANTILES = (0.9, 0.93, 0.95, 0.98, 0.99, 0.999, 1.0)
"""Which share of the scores of the first half is at most the limit; the most sensitive first."""


def with_scores(series: Series, model: str) -> Series:
    """The series with one field, the score of each record. The step learns from all records in order."""
    cls = registry.load("steps", "river")
    config = cls.Config(model=f"models.py:{MODELS[model]}", fields=list(series.fields))
    step: Step[Any] = cls(config, StepContext("river[0]", "evaluation", None, Path(__file__).parent))
    step.open()
    scored: list[dict[str, Any]] = []
    began_s = series.records[0]["at"]
    for first in range(0, len(series.records), BATCH):
        batch = [dict(record) for record in series.records[first : first + BATCH]]
        at_s = batch[-1]["at"]
        scored += step.process(batch, Now(at_s, at_s - began_s)).records
    if len(scored) != len(series.records):
        raise ValueError(f"{len(series.records) - len(scored)} records did not come out of the step")
    return replace(series, records=scored, fields=("score",))


def limit_of(scored: Series) -> FixedLimits:
    """The best limit by the first half."""

    def outcome(limit: FixedLimits) -> Outcome:
        return scored.judge(limit.flags(scored), scored.first_half)

    return best(_limits(scored), outcome)


def _limits(scored: Series) -> Iterator[Candidate[FixedLimits]]:
    early = [scored.records[place]["score"] for place in scored.first_half]
    scores = sorted(score for score in early if score is not None)
    for width, quantile in enumerate(QUANTILES):
        yield Candidate(FixedLimits("score", -inf, scores[round(quantile * (len(scores) - 1))]), width)
