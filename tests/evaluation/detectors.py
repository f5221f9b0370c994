"""The detectors under evaluation, and the options among which the first half chooses."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamd import registry
from streamd.core.contracts import Step, StepContext
from streamd.core.now import Now
from tests.evaluation.choice import Candidate, best
from tests.evaluation.series import Series

BATCH = 512
FOR = (None, "2 of 3", "3 of 5")
_SCALES = (3.0, 4.0, 6.0, 8.0, 12.0)
Options = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the step `anomaly` with its grid. The first value of `memory` is the default."""

    name: str
    memory: str
    memories: tuple[int, ...]
    thresholds: tuple[float, ...] = _SCALES

    def defaults(self, series: Series) -> Options:
        return {"method": self.name, **(series.season or {} if self.name == "seasonal" else {})}

    def grid(self, series: Series) -> Iterator[Candidate[Options]]:
        numbered = enumerate(self.thresholds)
        for (width, threshold), persistence, memory in itertools.product(numbered, FOR, self.memories):
            options = {**self.defaults(series), "threshold": threshold, self.memory: memory}
            if persistence is not None:
                options["for"] = persistence
            yield Candidate(options, width)


@dataclass(frozen=True, slots=True)
class Together:
    """A method over all fields of a series, with one model for all records."""

    name: str
    quantiles: tuple[float, ...]

    def defaults(self, series: Series) -> Options:
        return {"method": self.name, "fields": list(series.fields)}

    def grid(self, series: Series) -> Iterator[Candidate[Options]]:
        for width, quantile in enumerate(self.quantiles):
            yield Candidate({**self.defaults(series), "quantile": quantile}, width)


TOGETHER = (
    Together("half_space_trees", (0.9, 0.95, 0.98, 0.99, 0.995, 0.999)),
    Together("loda", (0.9, 0.95, 0.98, 0.995)),  # a record takes 0.2 ms
)
METHODS = (
    Method("ewma", "half_life", (50, 200, 800)),
    Method("hampel", "window", (31, 125, 500)),
    Method("quantile", "window", (200, 800, 3200), (1.0, 1.5, 2.0, 3.0, 4.0)),
    Method("seasonal", "half_life", (50, 200, 800)),
)


def methods_for(series: Series) -> list[Method | Together]:
    """Without `seasonal` if the series has no season, and without those of several fields if it has one."""
    found = [method for method in METHODS if method.name != "seasonal" or series.season]
    return [*found, *(TOGETHER if len(series.fields) > 1 else ())]


def results(series: Series, options: Mapping[str, Any], until: int) -> list[dict[str, Any]]:
    """The first records, as the step `anomaly` of a configuration with these options hands them on."""
    cls = registry.load("steps", "anomaly")
    given = {**options, "key": [series.key]} if series.key else dict(options)
    if given.get("method") == "seasonal":
        given["time"] = "at"
    step: Step[Any] = cls(cls.Config(**given), StepContext("anomaly[0]", "evaluation", None, Path()))
    step.open()
    done: list[dict[str, Any]] = []
    began_s = series.records[0]["at"]
    for first in range(0, until, BATCH):
        batch = [dict(record) for record in series.records[first : min(first + BATCH, until)]]
        at_s = batch[-1]["at"]
        done += step.process(batch, Now(at_s, at_s - began_s)).records
    if len(done) != until:
        raise ValueError(f"{until - len(done)} records did not come out of the step")
    return done


def flags(series: Series, options: Mapping[str, Any], until: int) -> list[bool]:
    """Which of the first records are flagged. A record without a score is not."""
    return [record["anomaly"] is True for record in results(series, options, until)]


def chosen(series: Series, method: Method | Together) -> tuple[Options, Options]:
    """The defaults on the best field, and the best options on this field, both by the first half alone."""

    def outcome(options: Options) -> Any:
        return series.judge(flags(series, options, series.half), series.first_half)

    defaults = method.defaults(series)
    if isinstance(method, Together):
        return defaults, best(method.grid(series), outcome)
    plain = best([Candidate({"field": name, **defaults}) for name in series.fields], outcome)
    candidates = (
        Candidate({"field": plain["field"], **candidate.options}, candidate.width)
        for candidate in method.grid(series)
    )
    return plain, best(candidates, outcome)
