"""A user's condition in SQL, before it is put into a statement of ours."""

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
    """The condition in brackets, once it is known to be one expression over the rows of `table`.

    Bare behind WHERE it cannot close a bracket that it did not open; in brackets it cannot go on with a
    clause of its own. What passes both is one expression. It is compiled for that, and never run. Raises
    `sqlite3.Error` where it is none, to be told as every wrong question (`only_reading`).
    """
    inside = f"({condition}\n)"  # the line end keeps a comment at the end from hiding our bracket
    for where in (condition, inside):
        sql = f"EXPLAIN SELECT 1 FROM main.{quote(table)} WHERE {where}"  # noqa: S608 - this is the question
        connection.execute(sql, parameters).close()
    return inside
