"""The columns of the page: what they show, how they are sorted, and which of them a narrow terminal keeps."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from streamd.core.printable import cells, escape, shortened
from streamd.top.flow_units import FlowUnit
from streamd.top.words import count, percent, rate, span

GAP = 2
_LEAST_NAME = 10
_LONGEST_NAME = 32


class PageColumn(NamedTuple):
    """A column: its heading, its text, its value to sort by, and how early it gives way (0: never)."""

    heading: str
    text: Callable[[FlowUnit], str]
    value: Callable[[FlowUnit], float | str | None]
    gives_way: int


def _wait_s(unit: FlowUnit) -> float | None:
    return None if unit.outlook is None else unit.outlook.wait_s


def _share(unit: FlowUnit, name: str) -> float | None:
    return None if unit.shares is None else float(getattr(unit.shares, name))


COLUMNS: tuple[PageColumn, ...] = (
    PageColumn("name", lambda unit: unit.name, lambda unit: unit.name, 0),
    PageColumn("in/s", lambda unit: rate(unit.entered_per_s), lambda unit: unit.entered_per_s, 0),
    PageColumn("out/s", lambda unit: rate(unit.left_per_s), lambda unit: unit.left_per_s, 1),
    PageColumn("rejected", lambda unit: count(unit.counts.rejected), lambda unit: unit.counts.rejected, 6),
    PageColumn("lost", lambda unit: count(unit.counts.all_lost), lambda unit: unit.counts.all_lost, 0),
    PageColumn("lost/s", lambda unit: rate(unit.lost_per_s), lambda unit: unit.lost_per_s, 7),
    PageColumn("fill", lambda unit: percent(unit.fill), lambda unit: unit.fill, 0),
    PageColumn("wait", lambda unit: span(_wait_s(unit)), _wait_s, 3),
    PageColumn("busy", lambda unit: percent(_share(unit, "busy")), lambda unit: _share(unit, "busy"), 2),
    PageColumn(
        "blocked", lambda unit: percent(_share(unit, "blocked")), lambda unit: _share(unit, "blocked"), 4
    ),
    PageColumn("idle", lambda unit: percent(_share(unit, "idle")), lambda unit: _share(unit, "idle"), 5),
)
"""In the order of the page. The column with the greatest `gives_way` is left out first."""


def fitting(units: Sequence[FlowUnit], width: int) -> list[tuple[PageColumn, int]]:
    """The columns that fit, each with its width. The name takes what is left, within limits."""
    kept = list(COLUMNS)
    while True:
        widths = [max(len(one.heading) + 1, *(len(one.text(unit)) for unit in units), 0) for one in kept[1:]]
        room = width - sum(widths) - GAP * len(widths)
        if room >= _LEAST_NAME or len(kept) == _least():
            longest = max((cells(escape(unit.name)) for unit in units), default=0)
            name = max(3, min(room, max(_LEAST_NAME, longest), _LONGEST_NAME))
            return [(kept[0], name), *zip(kept[1:], widths, strict=True)]
        kept.remove(max(kept, key=lambda one: one.gives_way))


def _least() -> int:
    return sum(not one.gives_way for one in COLUMNS)


def in_order(units: Sequence[FlowUnit], column: int | None, *, reverse: bool) -> list[FlowUnit]:
    """Numbers from the greatest to the least, texts from a to z; units without a value last."""
    if column is None:
        return list(units)
    value = COLUMNS[column].value
    there = [unit for unit in units if value(unit) is not None]
    by_text = column == 0

    def key(unit: FlowUnit) -> tuple[float, str]:
        found = value(unit)
        return (0.0, found) if isinstance(found, str) else (found or 0.0, "")

    there.sort(key=key, reverse=by_text == reverse)
    return there + [unit for unit in units if value(unit) is None]


def cell(column: PageColumn, unit: FlowUnit, width: int) -> str:
    """The text of one cell in its width. The name is at the left, numbers are at the right."""
    if column is COLUMNS[0]:
        name = shortened(escape(unit.name), width)
        return name + " " * (width - cells(name))
    return shortened(column.text(unit), width).rjust(width)
