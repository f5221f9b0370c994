"""Rows of a query as values for JSON, with a limit for their number and size."""

import base64
import math
import sqlite3
from collections.abc import Iterable
from typing import Any

MOST_BYTES = 4 << 20
"""The largest content of an answer."""
_VALUE_BYTES = 8
"""Counted for each value besides the length of a text or blob."""


def table(cursor: sqlite3.Cursor, limit: int) -> dict[str, Any]:
    """The columns and at most `limit` rows. `truncated` says whether there are more."""
    columns = [column[0] for column in cursor.description]
    return {"columns": columns, **_rows(cursor, limit)}


def _rows(cursor: Iterable[tuple[Any, ...]], limit: int) -> dict[str, Any]:
    rows: list[list[Any]] = []
    room = MOST_BYTES
    for row in cursor:
        room -= sum(_VALUE_BYTES + (len(value) if isinstance(value, str | bytes) else 0) for value in row)
        if len(rows) >= limit or room < 0:
            return {"rows": rows, "truncated": True}
        rows.append([_value(value) for value in row])
    return {"rows": rows, "truncated": False}


def _value(value: Any) -> Any:
    """A value of SQLite as JSON. What JSON cannot express is an object with one key, as in a tap."""
    if isinstance(value, bytes):
        return {"@base64": base64.b64encode(value).decode()}
    if isinstance(value, float) and math.isinf(value):
        return {"@float": "inf" if value > 0 else "-inf"}
    return value
