"""The results as a table for people and for the documentation, and as a document for programs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from streamd.bench.row import Row

HEAD = ("What", "Figure", "Baseline", "Ratio", "Goal", "Reached")
_VERDICT = {True: "yes", False: "NO", None: ""}
_WHOLE, _TENTHS = 1000, 10


def table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The cells of each row below `HEAD`."""
    return [_cells(row) for row in rows]


def notes(rows: Sequence[Row]) -> list[str]:
    """One line for each figure with a note."""
    return [f"{row.name}: {_note(row)}" for row in rows if _note(row)]


def markdown(rows: Sequence[Row]) -> str:
    """The table and the notes as Markdown."""
    lines = [HEAD, tuple("---" for _ in HEAD), *table(rows)]
    drawn = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([*drawn, "", *(f"- `{row.name}`: {_note(row)}" for row in rows if _note(row))])


def document(rows: Sequence[Row], machine: dict[str, Any], at: str, quick: bool) -> dict[str, Any]:
    """All measurements, for the JSON file."""
    return {
        "at": at,
        "quick": quick,
        "machine": machine,
        "rows": [asdict(row) | {"ratio": row.ratio} for row in rows],
    }


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.what,
        f"{_number(row.value)} {row.unit}",
        "" if row.baseline is None else f"{_number(row.baseline)} {row.unit}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        row.goal,
        _VERDICT[row.reached],
    )


def _note(row: Row) -> str:
    baseline = f"baseline: {row.baseline_what}" if row.baseline_what else ""
    return "; ".join(part for part in (row.note, baseline) if part)


def _number(value: float) -> str:
    if value >= _WHOLE:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= _TENTHS else f"{value:.2f}"
