"""The tables that are there, compared with those the configuration wants. Nothing is changed."""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from streamd.core.contracts import Sink
from streamd.core.errors import StreamdError
from streamd.sinks.sqlite import Sqlite
from streamd.storage.attached import existing
from streamd.storage.read_only import explained, open_read_only


class _ReadOnly:
    """What `Table` asks of a database, answered by a connection that cannot write."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, params).fetchall()


def compare(sinks: Mapping[str, Sink]) -> tuple[list[str], list[str]]:
    """What a start would change in tables that are there, and what it would refuse.

    Of dated files the newest is looked at. Files that are not there yet have nothing to compare.
    """
    changes: list[str] = []
    faults: list[str] = []
    for name, sink in sinks.items():
        files = existing(sink.path) if isinstance(sink, Sqlite) else []
        if not isinstance(sink, Sqlite) or not files:
            continue
        try:
            with closing(open_read_only(files[-1])) as connection:
                statements = asyncio.run(sink.wanted.changes(_ReadOnly(connection)))
        except StreamdError as error:
            faults.append(f"sinks.{name}: {files[-1]}: {error}")
        except sqlite3.Error as error:
            faults.append(f"sinks.{name}: {files[-1]}: {explained(error)}")
        else:
            changes += [f"sinks.{name}: {statement}" for statement in statements]
    return changes, faults
