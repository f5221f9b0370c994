"""The tables of the page."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.evaluation.page import with_block
from tests.evaluation.queues.driven import Drive
from tests.evaluation.queues.scores import Filling, every_band, filling, loss, median, stall

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "dynamics.md"
GOAL = 0.15
FRESH = 10
"""Bursts of the seeds below this were known when the rules of the model were changed for the last time."""


def blocks(drives: list[Drive]) -> dict[str, list[str]]:
    """The tables by the names of their blocks."""
    of_bursts = [one for one in drives if one.name.startswith("bursts")]
    long = [one for one in drives if one.name in ("repeated overloads", "chance")]
    loops = [one for one in drives if one.name.startswith("stalled loop")]
    steady = [one for one in drives if one not in (*of_bursts, *long, *loops)]
    return {
        "time to full": _times(steady),
        "bursts": _bands(one for one in of_bursts if _seed(one) < FRESH),
        "fresh bursts": _bands(one for one in of_bursts if _seed(one) >= FRESH),
        "loss": _losses([one for one in drives if one not in (*loops, *long)]),
        "slack": _stalls(loops),
        "skill": _skills(long),
    }


def write(title: str, lines: list[str]) -> None:
    """Put a table into the page."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_block(text, title, lines), encoding="utf-8")


def _seed(one: Drive) -> int:
    return int(one.name.rpartition(" ")[2])


def _times(drives: Iterable[Drive]) -> list[str]:
    body = []
    for one in drives:
        found = filling(one)
        if found is None or not found.forecasts:
            body.append((one.name, "-", "-", "-", "-", "-", "-"))
            continue
        errors = [forecast.error(found.full_s) for forecast in found.forecasts]
        body.append(
            (
                one.name,
                f"{found.full_s - one.begins_s:.1f} s",
                f"{found.forecasts[0].at_s - one.begins_s:.1f} s",
                f"{errors[0]:.0%}",
                f"{median(errors):.0%}",
                f"{sum(error <= GOAL for error in errors)} of {len(errors)}",
                _alarm(found),
            )
        )
    return _table(
        (
            "drive",
            "full after",
            "first forecast after",
            "its error",
            "median error",
            "within 15 %",
            "alarm before",
        ),
        body,
    )


def _alarm(found: Filling) -> str:
    return "-" if found.expected_s is None else f"{found.full_s - found.expected_s:.1f} s"


def _bands(drives: Iterable[Drive]) -> list[str]:
    body = []
    given: list[bool] = []
    made: list[bool] = []
    for one in drives:
        found = filling(one)
        if found is None:
            body.append((one.name, "never", "-", "-", "-", "-", "-"))
            continue
        of_given = [forecast.covers(found.full_s) for forecast in found.forecasts]
        every = every_band(one, found.full_s)
        of_made = [forecast.covers(found.full_s) for forecast in every]
        given += of_given
        made += of_made
        errors = [forecast.error(found.full_s) for forecast in every]
        never = sum(forecast.high_s is None for forecast in every)
        body.append(
            (
                one.name,
                f"{found.full_s:.1f} s",
                f"{len(of_given)} of {len(of_given) + found.withheld}",
                _share(of_given),
                _share(of_made),
                f"{never} of {len(every)}",
                f"{median(errors):.0%}" if errors else "-",
            )
        )
    body.append(("all", "", f"{len(given)}", _share(given), _share(made), "", ""))
    head = (
        "drive",
        "full after",
        "bands given",
        "coverage of these",
        "coverage of all bands",
        "without an end",
        "median error",
    )
    return _table(head, body)


def _share(hits: list[bool]) -> str:
    return f"{sum(hits) / len(hits):.2f}" if hits else "-"


def _losses(drives: Iterable[Drive]) -> list[str]:
    body = []
    for one in drives:
        found = loss(one)
        if found is not None:
            body.append((one.name, f"{found.computed:,.0f}", f"{found.dropped:,}", f"{found.error:.1%}"))
    return _table(("drive", "computed", "dropped", "error"), body)


def _stalls(drives: Iterable[Drive]) -> list[str]:
    body = []
    for one in drives:
        found = stall(one)
        stalled_s = float(one.name.rpartition(" ")[2])
        body.append(
            (
                one.name,
                f"{found.slack_s:.2f} s",
                f"{found.computed(stalled_s):,.0f}",
                f"{found.lost:,}",
            )
        )
    return _table(("drive", "slack before", "computed loss", "dropped by the kernel"), body)


def _skills(drives: Iterable[Drive]) -> list[str]:
    body = []
    for one in drives:
        entries = [seen.outlook["source"] for seen in one.seen]
        scored = [entry for entry in entries if entry["skill"] is not None]
        last = scored[-1] if scored else entries[-1]
        yes = sum(entry["forecast"] == "yes" for entry in scored)
        body.append(
            (
                one.name,
                f"{one.seen[-1].dropped:,}",
                "-" if last["skill"] is None else f"{last['skill']:.2f}",
                f"{last['horizon_s']:g} s",
                f"{yes / len(scored):.0%}" if scored else "-",
            )
        )
    return _table(("drive", "dropped", "skill at the end", "horizon", "time with a forecast"), body)


def _table(head: tuple[str, ...], body: Sequence[tuple[str, ...]]) -> list[str]:
    rows = [head, tuple("---" for _ in head), *body]
    return [f"| {' | '.join(row)} |" for row in rows]
