"""Makes a chart of the rows of a query."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from streamd.charts.chart import MOST_SERIES, Chart, ChartSeries, Form, is_known
from streamd.core.errors import BadData, ConfigError
from streamd.core.plural import counted
from streamd.core.printable import printable
from streamd.core.timestamp import canonical

MOST_BARS = 100
ROW_NUMBER = "row"
"""The label of the x axis if the only column is the values."""
_DAY = "dddd-dd-dd"
"""How a stored time begins. Other texts that a source may send as a time, such as numbers, are categories."""
_DIGITS = str.maketrans("123456789", "000000000")

Kind = Literal["time", "number", "text", "empty"]


class Drawn(NamedTuple):
    """A chart, and a sentence for each thing that it does not show."""

    chart: Chart
    notes: list[str]


def chart_of(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    text_of: Callable[[object], str],
    *,
    x: str | None = None,
    by: str | None = None,
    form: Form | None = None,
    title: str = "",
) -> Drawn:
    """The chart of the rows: `x` is a time column if there is one, else the first column.

    Each other column with numbers is a series, or with `by` each value of that column. A text at `x` makes
    bars. Texts that are no times are labels by `text_of`. Raises `ConfigError` for columns that are not there
    or have no numbers.
    """
    if not rows:
        raise ConfigError("the query has no rows, so there is nothing to plot")
    table = _Table(columns, rows)
    if by is not None:
        table.place(by)
    at = _x_place(table, x, by)
    values = [
        place
        for place in range(len(columns))
        if place != at and columns[place] != by and table.has_numbers(place)
    ]
    if not values and at is not None and x is None and table.has_numbers(at):
        values, at = [at], None
    if not values:
        raise ConfigError(
            "the query has no column of numbers to plot: select one, such as count(*)"
            if x is None and by is None
            else f"besides {' and '.join(filter(None, (x, by)))} the query has no column of numbers to plot"
        )
    wanted = _Wanted(title, "" if at is None else columns[at], form)
    kind: Kind = "number" if at is None else table.kinds[at]
    if form == "bars" or (form is None and kind in ("text", "empty")):
        return _bars(table, at, values, by, text_of, wanted)
    if kind in ("text", "empty"):
        raise ConfigError(f"{printable(wanted.x_label)} has texts, which only bars can show, not {form}")
    return _over_x(table, at, values, by, text_of, wanted)


class _Wanted(NamedTuple):
    title: str
    x_label: str
    form: Form | None


class _Table:
    """Rows with the kind of each column."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.columns = columns
        self.rows = rows
        self.kinds: list[Kind] = [_kind([row[place] for row in rows]) for place in range(len(columns))]

    def place(self, name: str) -> int:
        """The place of the column with this name. Raises `ConfigError`."""
        if name in self.columns:
            return self.columns.index(name)
        names = ", ".join(printable(column) for column in self.columns)
        raise ConfigError(f"the query has no column {printable(name)}; it has {names}")

    def has_numbers(self, place: int) -> bool:
        return any(isinstance(row[place], int | float) for row in self.rows)


def _kind(values: Sequence[object]) -> Kind:
    there = [value for value in values if value is not None]
    if not there:
        return "empty"
    if all(isinstance(value, int | float) for value in there):
        return "number"
    return "time" if all(_seconds(value) is not None for value in there) else "text"


def _seconds(value: object) -> float | None:
    """The time of a text, in seconds since 1970; without a zone it is UTC. None if it is no time."""
    if not isinstance(value, str) or value[: len(_DAY)].translate(_DIGITS) != "0000-00-00":
        return None
    try:
        return datetime.fromisoformat(canonical(value, timezone="UTC")).timestamp()
    except BadData:
        return None


def _x_place(table: _Table, x: str | None, by: str | None) -> int | None:
    if x is not None:
        return table.place(x)
    free = [place for place, name in enumerate(table.columns) if name != by]
    times = [place for place in free if table.kinds[place] == "time"]
    return times[0] if times else free[0] if free else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _left_out(table: _Table, places: Sequence[int]) -> list[str]:
    """A note for each column with values that are no finite numbers. NULL needs none."""
    notes = []
    for place in places:
        others = [
            row[place] for row in table.rows if row[place] is not None and not is_known(_number(row[place]))
        ]
        if others:
            one = len(others) == 1
            infinite = all(isinstance(value, float) for value in others)
            what = "infinite" if infinite else "no number" if one else "no numbers"
            is_ = "is" if one else "are"
            of = printable(table.columns[place])
            gaps = "is a gap" if one else "are gaps"
            notes.append(f"{counted(len(others), 'value')} of {of} {is_} {what}, and {gaps}")
    return notes


def _over_x(
    table: _Table,
    at: int | None,
    values: Sequence[int],
    by: str | None,
    text_of: Callable[[object], str],
    wanted: _Wanted,
) -> Drawn:
    """Lines or areas. The rows are in the order of x."""
    is_time = at is not None and table.kinds[at] == "time"
    placed: list[tuple[float, Sequence[Any]]] = []
    for number, row in enumerate(table.rows, 1):
        place = number if at is None else _seconds(row[at]) if is_time else _number(row[at])
        if place is not None and is_known(place):
            placed.append((place, row))
    notes = _left_out(table, values)
    if missing := len(table.rows) - len(placed):
        rows, are = counted(missing, "row"), "is" if missing == 1 else "are"
        notes.append(f"{rows} without a value of {printable(wanted.x_label)} {are} left out")
    if not placed:
        raise ConfigError(f"no row has a value of {printable(wanted.x_label)}, so there is nothing to plot")
    placed.sort(key=lambda pair: pair[0])
    if by is None:
        series = [
            ChartSeries(table.columns[place], [_number(row[place]) for _, row in placed]) for place in values
        ]
        x = [position for position, _ in placed]
    else:
        series, more = _grouped(table, placed, values, by, text_of)
        x, notes = [], notes + more
    if wanted.form == "areas":
        if by is not None:
            x, series = _at_common_positions(series)
        if any(value is not None and value < 0 for one in series for value in one.values):
            raise ConfigError("areas are stacked, so their values must not be below zero; use --form lines")
    few, more = _few(series)
    chart = Chart(
        few,
        x=x,
        form=wanted.form or "lines",
        title=wanted.title,
        x_label=wanted.x_label or ROW_NUMBER,
        x_kind="time" if is_time else "number",
    )
    return Drawn(chart, notes + more)


def _grouped(
    table: _Table,
    placed: Sequence[tuple[float, Sequence[Any]]],
    values: Sequence[int],
    by: str,
    text_of: Callable[[object], str],
) -> tuple[list[ChartSeries], list[str]]:
    """A series for each value of the column `by`, those with the most rows, at positions of their own."""
    place = table.place(by)
    groups: dict[str, list[tuple[float, Sequence[Any]]]] = {}
    for position, row in placed:
        groups.setdefault(_label(row[place], text_of), []).append((position, row))
    kept, notes = _largest({name: len(rows) for name, rows in groups.items()}, MOST_SERIES // len(values), by)
    series = [
        ChartSeries(
            name if len(values) == 1 else f"{name} {table.columns[value]}",
            [_number(row[value]) for _, row in groups[name]],
            [position for position, _ in groups[name]],
        )
        for name in kept
        for value in values
    ]
    return series, notes


def _label(value: object, text_of: Callable[[object], str]) -> str:
    return "NULL" if value is None else text_of(value)


def _largest(sizes: Mapping[str, int], most: int, by: str) -> tuple[list[str], list[str]]:
    kept = sorted(sizes, key=lambda name: -sizes[name])[: max(1, most)]
    if len(kept) == len(sizes):
        return list(sizes), []
    left = f"{len(sizes) - len(kept)} of {len(sizes)} values of {printable(by)}, those with the fewest rows,"
    return [name for name in sizes if name in set(kept)], [f"{left} are left out"]


def _few(series: Sequence[ChartSeries]) -> tuple[Sequence[ChartSeries], list[str]]:
    if len(series) <= MOST_SERIES:
        return series, []
    left = ", ".join(printable(one.label) for one in series[MOST_SERIES:])
    return series[:MOST_SERIES], [f"a chart has at most {MOST_SERIES} series, so these are left out: {left}"]


def _at_common_positions(series: Sequence[ChartSeries]) -> tuple[list[float], list[ChartSeries]]:
    """The same series at the positions of all of them. Of values at one position the last counts."""
    x = sorted({at for one in series for at in one.x or ()})
    return x, [
        ChartSeries(one.label, list(map(dict(zip(one.x or (), one.values, strict=True)).get, x)))
        for one in series
    ]


def _bars(
    table: _Table,
    at: int | None,
    values: Sequence[int],
    by: str | None,
    text_of: Callable[[object], str],
    wanted: _Wanted,
) -> Drawn:
    """Bars in the order of the rows. With `by` rows of the same category are one group of bars."""
    notes = _left_out(table, values)
    names = [
        str(number) if at is None else _label(row[at], text_of) for number, row in enumerate(table.rows, 1)
    ]
    if by is None:
        categories = names[:MOST_BARS]
        series = [
            ChartSeries(table.columns[value], [_number(row[value]) for row in table.rows[:MOST_BARS]])
            for value in values
        ]
        total = len(names)
    else:
        place = table.place(by)
        every = list(dict.fromkeys(names))
        categories, total = every[:MOST_BARS], len(every)
        groups = [_label(row[place], text_of) for row in table.rows]
        kept, more = _largest(Counter(groups), MOST_SERIES // len(values), by)
        notes += more
        found = {
            (name, group, value): _number(row[value])
            for name, group, row in zip(names, groups, table.rows, strict=True)
            for value in values
        }
        series = [
            ChartSeries(
                group if len(values) == 1 else f"{group} {table.columns[value]}",
                [found.get((name, group, value)) for name in categories],
            )
            for group in kept
            for value in values
        ]
    if total > MOST_BARS:
        notes.append(f"{total - MOST_BARS} of {total} bars are left out: use order by and limit")
    few, more = _few(series)
    chart = Chart(few, categories=categories, form="bars", title=wanted.title, x_label=wanted.x_label)
    return Drawn(chart, notes + more)
