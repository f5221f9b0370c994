"""The pictures of the page: SVG, the same bytes for the same figures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from tests.evaluation.queues.driven import Drive
from tests.evaluation.queues.scores import full_at_s, news

FOLDER = Path(__file__).parents[3] / "docs" / "explanation"
_BLUE, _BAND, _RED, _ORANGE, _GREY = "#1f5fa8", "#c9dcf0", "#c8202f", "#e08a00", "#999999"
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "streamd", "font.family": "sans-serif", "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False, "figure.facecolor": "white",
    "path.simplify": True, "path.simplify_threshold": 0.3,
}  # fmt: skip


def draw(drives: list[Drive]) -> None:
    """Write the pictures of the drives that have one."""
    with plt.rc_context(_STYLE):  # type: ignore[arg-type]  # it takes any known keys
        for one in drives:
            if one.name in _PICTURES:
                name, picture = _PICTURES[one.name]
                figure = picture(one)
                figure.savefig(FOLDER / f"dynamics-{name}.svg", format="svg", metadata={"Date": None})
                plt.close(figure)


def _filling(drive: Drive) -> Any:
    """What waits, and below it the time at which the queue was expected to be full."""
    figure, (waiting, expected) = plt.subplots(
        2, 1, figsize=(7, 4.2), sharex=True, layout="constrained", height_ratios=(2, 3)
    )
    looks = list(news(drive.seen, drive.queue))
    waiting.plot([at_s for at_s, _ in looks], [entry["records"] for _, entry in looks], color=_BLUE)
    waiting.axhline(looks[0][1]["max_records"], color=_RED, linewidth=0.9)
    waiting.set_ylabel("records that wait")
    made = [(at_s, entry["full_in_s"]) for at_s, entry in looks if entry["full_in_s"] is not None]
    full_s = full_at_s(drive)
    top = 1.8 * (full_s or drive.seconds)
    for at_s, band in made:
        high = top if band["high"] is None else min(top, at_s + band["high"])
        expected.plot([at_s, at_s], [min(top, at_s + band["low"]), high], color=_BAND, linewidth=4)
        if at_s + band["median"] <= top:
            expected.plot(at_s, at_s + band["median"], ".", color=_BLUE)
    if full_s is not None:
        expected.axhline(full_s, color=_RED, linewidth=0.9)
        expected.annotate(
            "full", (0, full_s), xytext=(0, 3), textcoords="offset points", color=_RED, fontsize=8
        )
    expected.set_ylim(0, top)
    expected.set_ylabel("expected to be full at (s)")
    expected.set_xlabel("seconds since the load began")
    return figure


def _skill(drive: Drive) -> Any:
    """What waits, the probability of an overflow, and the skill of the forecasts."""
    figure, (waiting, probability, skill) = plt.subplots(
        3, 1, figsize=(7, 4.6), sharex=True, layout="constrained"
    )
    looks = list(news(drive.seen, drive.queue))
    times = [at_s for at_s, _ in looks]
    waiting.plot(times, [entry["records"] for _, entry in looks], color=_BLUE)
    waiting.axhline(looks[0][1]["max_records"], color=_RED, linewidth=0.9)
    waiting.set_ylabel("waiting")
    probability.plot(
        times,
        [float("nan") if (p := entry["overflow_probability"]) is None else p for _, entry in looks],
        color=_ORANGE,
    )
    probability.set_ylim(-0.03, 1.03)
    probability.set_ylabel("probability")
    for horizon_s, colour in ((60.0, _GREY), (10.0, _BLUE)):
        of_horizon = [
            entry["skill"] if entry["horizon_s"] == horizon_s and entry["skill"] is not None else float("nan")
            for _, entry in looks
        ]
        skill.plot(times, of_horizon, ".", color=colour, label=f"within {horizon_s:g} s")
    skill.axhline(0, color=_RED, linewidth=0.9)
    skill.set_ylabel("skill")
    skill.set_xlabel("seconds since the load began")
    skill.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


_PICTURES: dict[str, tuple[str, Callable[[Drive], Any]]] = {
    "step 0.6 to 1.5": ("step", _filling),
    "slow step": ("slow-step", _filling),
    "stalled sink": ("stalled-sink", _filling),
    "bursts 1.2, 0.5 s, 3": ("bursts", _filling),
    "repeated overloads": ("overloads", _skill),
    "chance": ("chance", _skill),
}
