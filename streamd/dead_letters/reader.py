"""Queries on the file of dead letters."""

import base64
import sqlite3
from collections.abc import Iterator
from itertools import islice
from typing import Any

from streamd.core.printable import printable
from streamd.dead_letters.filter import LetterFilter
from streamd.dead_letters.row import COLUMNS

SHOWN_CHARACTERS = 60
"""Characters of a payload shown in a list."""

ALL_COLUMNS = ("id", *COLUMNS)
"""Every column. The payload is last."""


def newest(
    connection: sqlite3.Connection, wanted: LetterFilter, columns: tuple[str, ...], limit: int
) -> Iterator[tuple[Any, ...]]:
    """The newest letters first, with these columns, read one row at a time."""
    return connection.execute(
        f"SELECT {', '.join(columns)} FROM dead_letters WHERE {wanted.condition} ORDER BY id DESC LIMIT ?",  # noqa: S608 - no user input
        [*wanted.parameters, limit],
    )


MOST_LEFT_OUT = 10_000
"""Letters beyond those of a list are counted up to this number, so that it costs little."""
MOST_COUNTS = 1000
COUNT_COLUMNS = ("source", "stage", "reason", "count", "first", "last")


def counted(connection: sqlite3.Connection, wanted: LetterFilter) -> Iterator[tuple[Any, ...]]:
    """The number of letters by source, stage and reason, largest first, with their first and last time."""
    return connection.execute(
        "SELECT source, stage, reason, count(*), min(received_at), max(received_at)"  # noqa: S608 - no user input
        f" FROM dead_letters WHERE {wanted.condition} GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3",
        wanted.parameters,
    )


def missing(connection: sqlite3.Connection, ids: tuple[int, ...]) -> list[int]:
    """The ids without a letter, in order."""
    wanted = LetterFilter(ids=ids)
    there = connection.execute(
        f"SELECT id FROM dead_letters WHERE {wanted.condition}",  # noqa: S608 - no user input
        wanted.parameters,
    )
    return sorted(set(ids) - {number for (number,) in there})


def row(connection: sqlite3.Connection, number: int) -> tuple[Any, ...]:
    """One letter with `ALL_COLUMNS`. Raises `LookupError` if there is no such letter."""
    found: tuple[Any, ...] | None = connection.execute(
        f"SELECT {', '.join(ALL_COLUMNS)} FROM dead_letters WHERE id = ?",  # noqa: S608 - no user input
        [number],
    ).fetchone()
    if found is None:
        raise LookupError(f"there is no dead letter {number}; a full file evicts its oldest")
    return found


def letters(connection: sqlite3.Connection, wanted: LetterFilter, limit: int) -> dict[str, Any]:
    """The newest letters first, as values for JSON, with the first characters of their payloads.

    `left_out` is the number of older ones, up to `MOST_LEFT_OUT`.
    """
    found = [
        {**dict(zip(ALL_COLUMNS, row, strict=True)), "payload": printable(row[-1], SHOWN_CHARACTERS)}
        for row in newest(connection, wanted, ALL_COLUMNS, limit)
    ]
    left_out = 0
    if len(found) == limit:
        ((left_out,),) = connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM dead_letters WHERE {wanted.condition}"  # noqa: S608 - no user input
            " ORDER BY id DESC LIMIT ? OFFSET ?)",
            [*wanted.parameters, MOST_LEFT_OUT, limit],
        ).fetchall()
    return {"letters": found, "left_out": left_out}


def counts(connection: sqlite3.Connection, wanted: LetterFilter) -> dict[str, Any]:
    """At most `MOST_COUNTS` rows of `counted` as values for JSON. `left_out` is the number of the others."""
    rows = counted(connection, wanted)
    found = [dict(zip(COUNT_COLUMNS, row, strict=True)) for row in islice(rows, MOST_COUNTS)]
    return {"counts": found, "left_out": sum(1 for _ in rows)}


def letter(connection: sqlite3.Connection, number: int) -> dict[str, Any]:
    """One whole letter as values for JSON, with `payload_base64` if the payload is not UTF-8.

    Raises `LookupError` if there is no such letter.
    """
    return {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in named(row(connection, number)).items()
    }


def named(values: tuple[Any, ...]) -> dict[str, Any]:
    """A row of `ALL_COLUMNS` by name. A payload that is not UTF-8 is in `payload_base64`, still as bytes."""
    *others, payload = values
    name = "payload"
    if isinstance(payload, bytes):
        try:
            payload = payload.decode()
        except UnicodeDecodeError:
            name = "payload_base64"
    return {**dict(zip(ALL_COLUMNS, others, strict=False)), name: payload}
