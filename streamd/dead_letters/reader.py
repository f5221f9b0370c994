"""Dead letters read from their file."""

import base64
import sqlite3
from collections.abc import Iterator
from typing import Any

from streamd.core.printable import printable
from streamd.dead_letters.filter import LetterFilter
from streamd.dead_letters.row import COLUMNS

SHOWN_CHARACTERS = 60
"""Of a payload in a list."""

ALL_COLUMNS = ("id", *COLUMNS)
"""The payload last."""


def newest(
    connection: sqlite3.Connection, wanted: LetterFilter, columns: tuple[str, ...], limit: int
) -> Iterator[tuple[Any, ...]]:
    """Rows of these columns, the newest first, one at a time."""
    return connection.execute(
        f"SELECT {', '.join(columns)} FROM dead_letters WHERE {wanted.condition} ORDER BY id DESC LIMIT ?",  # noqa: S608 - our own words
        [*wanted.parameters, limit],
    )


COUNT_COLUMNS = ("source", "stage", "reason", "count", "first", "last")


def counted(connection: sqlite3.Connection, wanted: LetterFilter) -> Iterator[tuple[Any, ...]]:
    """How many there are of each source, stage and reason, most first, with the first and last time."""
    return connection.execute(
        "SELECT source, stage, reason, count(*), min(received_at), max(received_at)"  # noqa: S608 - our own words
        f" FROM dead_letters WHERE {wanted.condition} GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3",
        wanted.parameters,
    )


def missing(connection: sqlite3.Connection, ids: tuple[int, ...]) -> list[int]:
    """Which of these numbers no letter has."""
    wanted = LetterFilter(ids=ids)
    there = connection.execute(
        f"SELECT id FROM dead_letters WHERE {wanted.condition}",  # noqa: S608 - our own words
        wanted.parameters,
    )
    return sorted(set(ids) - {number for (number,) in there})


def row(connection: sqlite3.Connection, number: int) -> tuple[Any, ...]:
    """One letter in `ALL_COLUMNS`. Raises `LookupError`."""
    found: tuple[Any, ...] | None = connection.execute(
        f"SELECT {', '.join(ALL_COLUMNS)} FROM dead_letters WHERE id = ?",  # noqa: S608 - our own words
        [number],
    ).fetchone()
    if found is None:
        raise LookupError(f"there is no dead letter {number}; a full file evicts its oldest")
    return found


def letters(connection: sqlite3.Connection, wanted: LetterFilter, limit: int) -> list[dict[str, Any]]:
    """The newest first, as JSON has them; of the payload the first characters."""
    return [
        {**dict(zip(ALL_COLUMNS, found, strict=True)), "payload": printable(found[-1], SHOWN_CHARACTERS)}
        for found in newest(connection, wanted, ALL_COLUMNS, limit)
    ]


def counts(connection: sqlite3.Connection, wanted: LetterFilter) -> list[dict[str, Any]]:
    """What `counted` says, as JSON has it."""
    return [dict(zip(COUNT_COLUMNS, found, strict=True)) for found in counted(connection, wanted)]


def letter(connection: sqlite3.Connection, number: int) -> dict[str, Any]:
    """One, whole, as JSON has it: `payload_base64` where the payload is no text. Raises `LookupError`."""
    return {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in named(row(connection, number)).items()
    }


def named(values: tuple[Any, ...]) -> dict[str, Any]:
    """A row of `ALL_COLUMNS` by name, with `payload` where that is text, else `payload_base64`, in bytes."""
    *others, payload = values
    name = "payload"
    if isinstance(payload, bytes):
        try:
            payload = payload.decode()
        except UnicodeDecodeError:
            name = "payload_base64"
    return {**dict(zip(ALL_COLUMNS, others, strict=False)), name: payload}
