"""The page as lines of rich text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rich.text import Text

from streamd.admin.status_answer import StatusAnswer
from streamd.core.plural import counted
from streamd.core.printable import cells, escape, shortened
from streamd.top.columns import COLUMNS, GAP, PageColumn, cell, fitting, in_order
from streamd.top.controls import HELP, Controls
from streamd.top.flow_units import GROUPS, FlowUnit
from streamd.top.sentence import full_in, sentence
from streamd.top.words import count, percent, rate, span

STALE_S = 3.0
_STYLES = {"good": "bold green", "warn": "bold yellow", "bad": "bold red"}
_ICONS = {"good": "✓", "warn": "!", "bad": "✕"}
_INDENT = "    "
_BUSY = 0.9
_MOST_SENDERS = 3


@dataclass(frozen=True)
class Shown:
    """Everything that the page shows. `fault` is why no daemon answers, None while one does."""

    status: StatusAnswer | None = None
    units: Sequence[FlowUnit] = ()
    age_s: float = 0.0
    fault: str | None = None
    lost_at: datetime | None = None
    senders: Sequence[tuple[str, str, int]] = field(default=())
    """Of the last hour, with gaps, rejections or failed rules: the sender, what was found, and how many."""
    senders_left_out: int = 0
    """Further ones, which the daemon did not send."""


def page(shown: Shown, controls: Controls, width: int, height: int | None) -> list[Text]:
    """The lines of the page, each at most `width` wide; at most `height` lines (None: all)."""
    if controls.help:
        return _cut([Text("streamd top", "bold"), Text(), *_help()], width, height)
    head, body = list(_head(shown, width)), list(_body(shown, controls, width))
    foot = _foot(controls)
    if height is None:
        return _cut([*head, *body], width, None)
    room = max(1, height - len(head) - 1)
    if len(body) > room:
        first = min(controls.scroll, len(body) - room + 1)
        hidden = len(body) - room + 1
        body = [
            *body[first : first + room - 1],
            Text(f"… {counted(hidden, 'line does', 'lines do')} not fit: j and k scroll", "dim"),
        ]
    body += [Text()] * (room - len(body))
    return _cut([*head, *body, foot], width, height)


def _cut(lines: Sequence[Text], width: int, height: int | None) -> list[Text]:
    found = []
    for line in lines[:height]:
        kept = line.copy()
        kept.truncate(width, overflow="crop")
        found.append(kept)
    return found


def is_old(shown: Shown) -> bool:
    """Whether the figures are no longer those of now."""
    return shown.fault is not None or shown.age_s > STALE_S


def _head(shown: Shown, width: int) -> Iterator[Text]:
    status = shown.status
    if shown.fault is not None:
        parts = [escape(shown.fault)]
        if status is not None:
            parts.append(f"the figures are {span(float(int(shown.age_s)))} old")
        yield from _folded("✕ No daemon", [*parts, "trying again"], "bold red", width)
    elif status is None:
        yield Text("… Connecting", "bold")
    elif is_old(shown):
        old = f"no news from the daemon for {span(float(int(shown.age_s)))}"
        yield from _folded("… Stale", [old, "the figures are old"], "bold yellow", width)
    else:
        found = sentence(status, shown.units, shown.lost_at)
        head = f"{_ICONS[found.level]} {found.word}"
        yield from _folded(head, [escape(part) for part in found.parts], _STYLES[found.level], width)
    if status is not None:
        about = f"streamd {status.version} · {status.phase} for {span(status.uptime_s)} · {status.config}"
        yield Text(shortened(escape(about), width), "dim")


def _folded(head: str, parts: Sequence[str], style: str, width: int) -> Iterator[Text]:
    """The head and its parts, as many in each line as fit."""
    line, used = Text().append(head, style), cells(head)
    for part in parts:
        shown = shortened(part, width - 3)
        if used + 3 + cells(shown) > width:
            yield line
            line, used = Text("  "), 2
            line.append(shown)
            used += cells(shown)
        else:
            line.append(" · ", "dim").append(shown)
            used += 3 + cells(shown)
    yield line


def _body(shown: Shown, controls: Controls, width: int) -> Iterator[Text]:
    wanted = controls.filter.casefold()
    units = [unit for unit in shown.units if wanted in unit.name.casefold()]
    if shown.units and not units:
        yield Text(f"no name contains {shortened(escape(controls.filter), width - 20)}", "yellow")
    old = is_old(shown)
    columns = fitting(units, width)
    for group in GROUPS:
        members = in_order([u for u in units if u.group == group], controls.sort, reverse=controls.reverse)
        if not members:
            continue
        yield Text()
        yield _heading(f"{group}s", columns, controls)
        for unit in members:
            line = _row(unit, columns)
            if old:
                line.stylize("dim")
            yield line
            for note, style in _notes(unit):
                text = Text(_INDENT + shortened(escape(note), width - len(_INDENT)), style)
                if old:
                    text.stylize("dim")
                yield text
    yield from _senders(shown, width)


def _senders(shown: Shown, width: int) -> Iterator[Text]:
    if shown.senders:
        yield Text()
        yield Text("senders with gaps, rejections or failed rules, last hour", "bold")
        for sender, found, n in shown.senders[:_MOST_SENDERS]:
            yield Text(_INDENT + shortened(escape(f"{sender}  {count(n)}  {found}"), width - len(_INDENT)))
        if more := max(0, len(shown.senders) - _MOST_SENDERS) + shown.senders_left_out:
            yield Text(f"{_INDENT}and {count(more)} more", "dim")


def _heading(group: str, columns: Sequence[tuple[PageColumn, int]], controls: Controls) -> Text:
    line = Text()
    for column, width in columns:
        heading = group if column is COLUMNS[0] else column.heading
        if controls.sort is not None and column is COLUMNS[controls.sort]:
            heading += "▲" if controls.reverse != (column is COLUMNS[0]) else "▼"
        heading = shortened(heading, width)
        aligned = heading.ljust(width) if column is COLUMNS[0] else heading.rjust(width)
        line.append(aligned, "bold").append(" " * GAP)
    line.rstrip()
    return line


def _row(unit: FlowUnit, columns: Sequence[tuple[PageColumn, int]]) -> Text:
    line = Text()
    for column, width in columns:
        line.append(cell(column, unit, width), _style(column.heading, unit)).append(" " * GAP)
    line.rstrip()
    return line


def _style(heading: str, unit: FlowUnit) -> str:
    if (heading == "lost" and unit.counts.all_lost) or (heading == "lost/s" and unit.lost_per_s):
        return "red"
    if heading == "fill" and (unit.fill or 0) >= _BUSY:
        return "red"
    if heading == "name" and unit.outlook is not None and unit.outlook.bottleneck:
        return "bold yellow"
    return ""


def _notes(unit: FlowUnit) -> Iterator[tuple[str, str]]:
    """The lines below a row, each with its style."""
    if unit.trouble is not None:
        yield f"retries for {span(unit.retrying_for_s)}: {unit.trouble}", "yellow"
    one = unit.outlook
    if one is not None:
        if one.bottleneck:
            yield _limit(unit, one.capacity_per_s), "yellow"
        if one.full_in_s is not None:
            likely = f", {percent(one.overflow_probability)} within {span(one.horizon_s)}"
            shown = "" if one.overflow_probability is None or not one.full_in_s.median else likely
            yield f"{full_in(one.full_in_s)}{shown}", "red" if one.overflow_expected else "yellow"
        elif one.standing_queue:
            yield f"standing queue: nothing waited less than {span(one.min_sojourn_s)}", "yellow"
    if unit.counts.all_lost:
        lost = sorted(unit.counts.lost.items(), key=lambda pair: -pair[1])
        yield "lost: " + ", ".join(f"{reason} {count(n)}" for reason, n in lost if n), "red"


def _limit(unit: FlowUnit, capacity_per_s: float | None) -> str:
    """Which stage limits the flow: a step, the workers behind a source, or the sink itself."""
    if unit.group == "sink":
        said, they = "limits the flow", "it"
    elif unit.limiting_step is None:
        said, they = "its workers limit the flow", "they"
    else:
        said, they = f"step {unit.limiting_step} limits the flow", "it"
    return f"{said}: {they} can do {rate(capacity_per_s)}/s" if capacity_per_s else said


def _help() -> Iterator[Text]:
    for keys, does in HELP:
        yield Text(f"{keys:<18}{does}")
    yield Text()
    yield Text("in, out: received and decoded of sources, offered and stored of sinks", "dim")
    yield Text("busy, blocked, idle: shares of the last ten seconds; fill, wait: of the buffer", "dim")
    yield Text("any other key returns", "dim")


def _foot(controls: Controls) -> Text:
    if controls.typing:
        return Text(f"filter: {escape(controls.filter)}_", "reverse")
    line = Text()
    if controls.paused:
        line.append("paused: p goes on", "reverse").append("  ")
    if controls.filter:
        line.append(f"filter: {escape(controls.filter)}", "reverse").append("  ")
    return line.append("s sort  r reverse  / filter  p pause  ? help  q quit", "dim")
