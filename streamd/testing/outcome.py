"""The outcome of a test: what the sinks hold, what was rejected, and the numbers of the books."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from streamd.config import Loaded
from streamd.core.books import Books
from streamd.core.dead_letter import DeadLetter
from streamd.core.json_rules import RESERVED_KEYS
from streamd.dead_letters.row import COLUMNS, row_of
from streamd.sqlite.table import CATCH_ALL_COLUMNS
from streamd.trial.output import TrialOutput

_LINE_METADATA = ("_received_at", "_source", "_peer")
_TABLE_METADATA = ("received_at", "source", "peer")


@dataclass(slots=True)
class SinkOutcome:
    """What one sink holds. `lines` is None for a table; `rows` is None if a line is no JSON object."""

    rows: list[dict[str, Any]] | None
    lines: list[str] | None
    optional: tuple[str, ...] = ()
    """Fields that are compared only if they are expected: metadata, and the number of a row."""

    @property
    def count(self) -> int:
        """The number of records."""
        return len((self.rows if self.lines is None else self.lines) or ())


@dataclass(slots=True)
class CaseOutcome:
    """Everything that came of the inputs of a test."""

    sinks: dict[str, SinkOutcome] = field(default_factory=dict)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    """Dead letters as `reason`, `stage`, `source`, `pipeline`, `sink`, `detail` and `payload`."""
    filtered: Counter[str] = field(default_factory=Counter)
    """By pipeline."""
    dropped: Counter[str] = field(default_factory=Counter)
    """By reason: frames, records, and records before a sink."""
    counters: dict[str, int] = field(default_factory=dict)
    """By the path of the component."""
    faults: list[str] = field(default_factory=list)
    """Sums of the books that do not balance, and bytes without a fate."""


def sink_outcome(output: TrialOutput) -> SinkOutcome:
    """What a closed sink has stored."""
    rows, lines = output.contents()
    settings: Any = output.settings
    if settings.type != "sqlite":
        objects = [_object(line) for line in lines]
        whole = [row for row in objects if row is not None]
        return SinkOutcome(whole if len(whole) == len(lines) else None, lines, _LINE_METADATA)
    if settings.schema_name is None and not settings.columns:
        return SinkOutcome([_of_catch_all(row) for row in rows], None, (*_TABLE_METADATA, "id"))
    return SinkOutcome(list(map(_readable, rows)), None, _TABLE_METADATA if settings.metadata else ())


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _of_catch_all(row: dict[str, Any]) -> dict[str, Any]:
    """The fields of the record, which the row holds as JSON, and the metadata without an equal name."""
    if row.keys() - {"id"} != CATCH_ALL_COLUMNS.keys():
        return _readable(row)
    fields: dict[str, Any] = json.loads(row["record"])
    return {name: row[name] for name in ("id", *_TABLE_METADATA)} | fields


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """The row with each blob as SQL writes it."""
    return {name: f"x'{value.hex()}'" if isinstance(value, bytes) else value for name, value in row.items()}


def letter_outcome(letter: DeadLetter, loaded: Loaded) -> dict[str, Any]:
    """A dead letter as the daemon would keep it. The payload of a record is its fields without metadata."""
    source = loaded.config.sources.get(letter.source)
    row = dict(zip(COLUMNS, row_of(letter, source.dead_letters.payload if source else "keep"), strict=True))
    payload: Any = row["payload"]
    if isinstance(payload, bytes):
        payload = payload.decode("utf-8", "backslashreplace")
    elif isinstance(letter.payload, dict) and (fields := _object(payload or "")) is not None:
        payload = {name: value for name, value in fields.items() if name not in RESERVED_KEYS}
    names = ("reason", "stage", "source", "pipeline", "sink", "detail")
    return {name: row[name] for name in names if row[name]} | {"payload": payload}


def book_outcome(books: Books, outcome: CaseOutcome) -> None:
    """Add the numbers of the books."""
    for record_book in books.records.values():
        outcome.filtered[record_book.pipeline] += record_book.filtered
    for book in books.every():
        outcome.dropped.update(book.dropped)
    for name, frames in books.frames.items():
        outcome.counters |= {f"sources.{name}.{key}": n for key, n in frames.counters.totals().items()}
    for (pipeline, step), counters in books.steps.items():
        place = f"pipelines.{pipeline}.steps[{step.rpartition('[')[2]}"
        outcome.counters |= {f"{place}.{key}": n for key, n in counters.totals().items()}
    for name, counters in books.sinks.items():
        outcome.counters |= {f"sinks.{name}.{key}": n for key, n in counters.totals().items()}
