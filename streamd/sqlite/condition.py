"""Checks a user's SQL condition before it becomes a part of a statement."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from streamd.sqlite.table import quote


def bracketed(
    connection: sqlite3.Connection,
    table: str,
    condition: str,
    parameters: Sequence[Any] | Mapping[str, Any] = (),
) -> str:
    """The condition in brackets, if it is one expression over the rows of `table`.

    The condition is compiled twice, and never run. Without brackets after WHERE, it cannot close a bracket
    that it did not open. In brackets, it cannot continue with another clause. A text that passes both is one
    expression. Raises `sqlite3.Error` for any other text; `only_reading` turns that into `QueryRefused`.
    """
    inside = f"({condition}\n)"  # the line end keeps a trailing comment from hiding the closing bracket
    for where in (condition, inside):
        sql = f"EXPLAIN SELECT 1 FROM main.{quote(table)} WHERE {where}"  # noqa: S608 - the user's condition
        connection.execute(sql, parameters).close()
    return inside
