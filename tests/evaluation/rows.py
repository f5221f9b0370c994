"""What is measured on one series: every detector and baseline, on its second half."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.evaluation import baselines
from tests.evaluation.detectors import Method, Options, Together, chosen, flags, methods_for
from tests.evaluation.events import Outcome, runs
from tests.evaluation.learned_scores import MODELS, limit_of, with_scores
from tests.evaluation.series import Series


@dataclass(frozen=True, slots=True)
class Row:
    """A detector with its options, and its outcome beside that of random flags at the same rate."""

    detector: str
    outcome: Outcome
    options: Options = field(default_factory=dict)
    at_random: Outcome | None = None
    kinds: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By kind of event: how many were found, and how many there are."""


def of_options(series: Series, detector: str, options: Options) -> Row:
    """The step with these options sees the whole series, and is judged on the second half."""
    found = flags(series, options, len(series.records))
    return _row(series, detector, options, found)


def of_fixed_limits(series: Series) -> Row:
    limits = baselines.fixed_limits(series)
    options: Options = {"field": limits.field, "low": limits.low, "high": limits.high}
    if limits.persistence:
        options["for"] = limits.persistence
    return _row(series, "fixed limits", options, limits.flags(series))


def of_constants(series: Series) -> list[Row]:
    return [
        Row("all flagged", baselines.constant(series, flag=True)),
        Row("none flagged", baselines.constant(series, flag=False)),
    ]


def of_method(series: Series, method: Method | Together) -> list[Row]:
    """The defaults, of one field also with `learn = "inside"`, and what the first half chooses."""
    plain, best = chosen(series, method)
    rows = {"defaults": plain, "learns inside": {**plain, "learn": "inside"}, "chosen": best}
    if isinstance(method, Together):
        del rows["learns inside"]
    return [of_options(series, f"`{method.name}`, {name}", options) for name, options in rows.items()]


def of_model(series: Series, model: str) -> Row:
    """A model of river over all fields, with a limit for its score."""
    scored = with_scores(series, model)
    limit = limit_of(scored)
    found = limit.flags(scored)
    return _row(series, f"`river`, {model}", {"where": f"score > {limit.high:.6g}"}, found)


def seasonal_rows(series: Series) -> Iterator[Row]:
    yield from of_method(series, next(m for m in methods_for(series) if m.name == "seasonal"))


def all_rows(series: Series) -> Iterator[Row]:
    yield from of_constants(series)
    yield of_fixed_limits(series)
    for method in methods_for(series):
        yield from of_method(series, method)
    if len(series.fields) > 1:
        for model in MODELS:
            yield of_model(series, model)


def _row(series: Series, detector: str, options: Options, found: list[bool]) -> Row:
    outcome = series.judge(found, series.second_half)
    at_random = baselines.at_random(series, outcome.rate) if outcome.flagged else None
    return Row(detector, outcome, options, at_random, _by_kind(series, found))


def _by_kind(series: Series, found: list[bool]) -> dict[str, tuple[int, int]]:
    """Of the second half. The kind of an event is that of its first record."""
    if not series.kinds:
        return {}
    kinds: dict[str, tuple[int, int]] = {}
    for key in dict.fromkeys(series.keys):
        places = [place for place in series.second_half if series.keys[place] == key]
        for event in runs([series.labels[place] for place in places]):
            kind = series.kinds[places[event.start]]
            hits, events = kinds.get(kind, (0, 0))
            kinds[kind] = hits + any(found[places[place]] for place in event), events + 1
    return dict(sorted(kinds.items()))
