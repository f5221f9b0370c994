"""The tables of the page, and where they stand in it."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.evaluation.changes import Found
from tests.evaluation.detectors import Options
from tests.evaluation.drifts import ChangeRow
from tests.evaluation.events import Outcome
from tests.evaluation.noise import MEMORIES, noise, shares
from tests.evaluation.rows import Row
from tests.evaluation.series import Series

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "anomalies-measured.md"
HEAD = (
    "detector", "options", "events found", "precision", "recall", "false alarms (a day)", "median delay",
    "random: precision, recall",
)  # fmt: skip
_HIDDEN = ("method", "fields", "season", "buckets")
"""Options that are the same in all rows of a method."""


def table(series: Series, rows: Iterable[Row]) -> list[str]:
    """The lines of a table in Markdown."""
    return _markdown(HEAD, [cells(series, row) for row in rows])


def cells(series: Series, row: Row) -> tuple[str, ...]:
    found = row.outcome
    alarms = f"{found.false_alarms:,} ({_number(found.false_alarms_a_day(series.step_s))})"
    return (
        row.detector, options_text(series, row.options), f"{found.found:,} of {found.events:,}",
        _share(found.precision), _share(found.recall), alarms, _delay(series, found),
        _by_chance(row.at_random),
    )  # fmt: skip


def kinds_table(rows: Iterable[Row]) -> list[str]:
    """How many events of each kind were found."""
    told = [row for row in rows if row.kinds]
    names = list(told[0].kinds)
    body = [
        (row.detector, *(f"{hits:,} of {events:,}" for hits, events in row.kinds.values())) for row in told
    ]
    return _markdown(("detector", *(name.replace("_", " ") for name in names)), body)


def changes_table(rows: Iterable[ChangeRow]) -> list[str]:
    """What `drift` and its baselines find in all series together."""
    body = []
    for row in rows:
        found = row.found
        false_alarms = f"{found.false_alarms:,} ({_number(found.false_alarms / found.records * 1000)})"
        body.append(
            (row.detector, _code(row.options, ("method",)), _share(found.precision), _share(found.recall),
             false_alarms, "-" if found.delay is None else _number(found.delay), _by_chance(row.at_random))
        )  # fmt: skip
    head = (*HEAD[:2], *HEAD[3:5], "false alarms (in 1,000 records)", "median delay in records", HEAD[-1])
    return _markdown(head, body)


def changes_by_series(names: Iterable[str], rows: Iterable[ChangeRow]) -> list[str]:
    """Of each series: the recall, and how many of the reports were right."""
    body = [
        (row.detector, *(f"{_share(one.recall)}, {one.right:,} of {one.reports:,}" for one in row.by_series))
        for row in rows
    ]
    return _markdown(("detector", *names), body)


def noise_table() -> list[str]:
    """Which share of the values of noise is flagged."""
    like = noise(next(iter(MEMORIES)))
    body = [
        (f"`{options['method']}`", options_text(like, options), *(f"{100 * share:.3f} %" for share in found))
        for options, found in shares()
    ]
    return _markdown(("detector", "options", *MEMORIES), body)


def options_text(series: Series, options: Options) -> str:
    """As a configuration has them; the field only if there are several."""
    return _code(options, _HIDDEN if len(series.fields) > 1 else (*_HIDDEN, "field"))


def options_of(series: Series, detector: str, text: str) -> Options:
    """The options of a row of the page."""
    method = detector.split("`")[1]
    found: Options = {"field": series.fields[0], "method": method}
    if method == "seasonal":
        found |= series.season or {}
    told: Options = tomllib.loads(f"options = {{ {text.strip('`')} }}")["options"]
    return {**found, **told}


def block(page: str, name: str) -> list[str]:
    """The lines of a block of the page. Raises `ValueError` if the page has none with this name."""
    begin, end = _marks(name)
    if begin not in page:
        raise ValueError(f"the page has no block {name!r}")
    return page.partition(begin)[2].partition(end)[0].strip().splitlines()


def with_block(page: str, name: str, lines: list[str]) -> str:
    """The page with other lines in a block."""
    block(page, name)
    begin, end = _marks(name)
    before, _, rest = page.partition(begin)
    return "".join((before, begin, "\n", *(f"{line}\n" for line in lines), "\n", end, rest.partition(end)[2]))


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- figures: {name} -->\n", f"<!-- end: {name} -->"


def _markdown(head: Iterable[str], body: Iterable[Iterable[str]]) -> list[str]:
    head = tuple(head)
    lines = [head, ("---",) * len(head), *body]
    return [f"| {' | '.join(line)} |" for line in lines]


def _code(options: Options, hidden: Iterable[str]) -> str:
    told = [f"{name} = {_toml(value)}" for name, value in options.items() if name not in hidden]
    return f"`{', '.join(told)}`" if told else ""


def _by_chance(found: Outcome | Found | None) -> str:
    return "-" if found is None else f"{_share(found.precision)}, {_share(found.recall)}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.3f}"


def _delay(series: Series, found: Outcome) -> str:
    delay_s = found.delay_s(series.step_s)
    return "-" if delay_s is None else f"{_number(delay_s)} s"


def _number(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 or number == int(number) else f"{number:.2f}"


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value:.6g}"
