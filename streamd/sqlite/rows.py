"""The rows that a batch becomes, and shared functions to make them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Any

from streamd.core.batch import Batch
from streamd.core.errors import BadData
from streamd.encoding.metadata import metadata

Row = tuple[Any, ...]
METADATA_COLUMNS = {"received_at": "TEXT", "source": "TEXT", "peer": "TEXT"}


@dataclass(slots=True)
class BadRow:
    """A record that cannot become a row, by its index in the batch."""

    index: int
    reason: str
    detail: str


@dataclass(slots=True)
class Rows:
    """The rows of a batch: values for `columns`, each of the record whose index is in `indexes`.

    If `new_columns` is not empty (with `extra = "add_column"`), the other fields are incomplete: the table
    needs these columns first. `dropped_fields` counts values dropped for lack of a column. `fields_as_json`
    counts values kept in the column `extra` because they cannot have a column (`extra = "add_column"`).
    """

    columns: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    indexes: Sequence[int] = ()
    rejects: list[BadRow] = field(default_factory=list)
    dropped_fields: int = 0
    fields_as_json: int = 0
    new_columns: tuple[str, ...] = ()


def with_metadata(rows: Iterable[Row], batch: Batch, indexes: Sequence[int]) -> list[Row]:
    """Each row followed by the metadata of its record."""
    columns: Iterable[Row] = zip(*metadata(batch), strict=False)
    if len(indexes) != len(batch):
        every = list(columns)
        columns = map(every.__getitem__, indexes)
    return list(map(add, rows, columns))


def encode_columns(
    rows: Iterable[Row], encoders: Sequence[tuple[int, str, Callable[[Any], Any]]], rows_out: Rows
) -> Iterable[Row]:
    """The rows with the values of some columns encoded. Rows with a value that cannot be are rejected."""
    done: list[Row] = []
    indexes: list[int] = []
    for index, row in zip(rows_out.indexes, rows, strict=True):
        values = list(row)
        try:
            for place, name, encode in encoders:
                if values[place] is not None:
                    values[place] = _named(name, encode, values[place])
        except BadData as bad:
            rows_out.rejects.append(BadRow(index, bad.reason, bad.detail))
            continue
        done.append(tuple(values))
        indexes.append(index)
    rows_out.indexes = indexes
    return done


def _named(name: str, encode: Callable[[Any], Any], value: Any) -> Any:
    try:
        return encode(value)
    except BadData as bad:
        raise BadData(bad.reason, f"{name}: {bad.detail}") from None
