"""The routes that read databases: queries, the quality of the data, and senders."""

import sqlite3
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamd.admin import rows
from streamd.admin.backing import Backing
from streamd.admin.bounded_reading import BoundedReading, OwnQuery
from streamd.admin.parameters import known, number
from streamd.admin.stack import WrongRequest
from streamd.admin.statement import Statement
from streamd.config.databases import databases, schemas
from streamd.core.clock import read_clock
from streamd.core.timestamp import from_epoch
from streamd.sqlite.attached import open_schemas
from streamd.sqlite.read_only import open_read_only
from streamd.sqlite.table import quote

MOST_ROWS = 10_000
_ROWS = 1000
_HOUR_S = 3600.0
_NEWEST_LETTERS = 100_000
"""Older letters are not counted by sender, so that the time for it is bounded."""

_QUALITY_SENDERS = """
SELECT worst_sender, source, 'rule ' || rule || CASE field WHEN '' THEN '' ELSE ' of ' || field END,
sum(worst_failed), max(minute)
FROM quality WHERE worst_sender IS NOT NULL AND minute >= ? GROUP BY 1, 2, 3
"""
_LETTER_SENDERS = f"""
SELECT peer, source, 'dead letters: ' || reason, count(*), max(received_at)
FROM dead_letters
WHERE id > (SELECT max(id) FROM dead_letters) - {_NEWEST_LETTERS} AND received_at >= ? AND peer IS NOT NULL
GROUP BY 1, 2, 3
"""  # noqa: S608 - no user input
_GAP_COLUMNS = frozenset({"gap_from", "gap_to", "missing", "noticed_at"})
_COLUMNS = ["sender", "source", "found", "records", "last"]


class StoredRoutes:
    """`/query`, `/quality` and `/senders`. They only read, each for a bounded time."""

    def __init__(self, backing: Backing, reading: BoundedReading, statements: BoundedReading) -> None:
        self._backing = backing
        self._reading = reading
        self._statements = statements

    def routes(self) -> list[Route]:
        """The routes, for those who may see records."""
        return [
            Route("/query", self._query),
            Route("/quality", self._quality),
            Route("/senders", self._senders),
        ]

    async def _query(self, request: Request) -> Response:
        given = known(request, "sql", "sink", "limit")
        sql, sink = given.get("sql", "").strip(), given.get("sink")
        limit = min(number(given.get("limit", str(_ROWS))), MOST_ROWS)
        if not sql:
            raise WrongRequest(400, "sql is missing: one SELECT")
        loaded = self._backing.loaded()
        names = databases(loaded)
        if sink is not None and sink not in names:
            known_names = f"there are {', '.join(names)}" if names else "there is none"
            raise WrongRequest(400, f"no sink {sink} stores in a database; {known_names}")
        return await self._statements.answer(request, Statement(schemas(loaded, sink), sql, limit))

    async def _quality(self, request: Request) -> Response:
        known(request)
        loaded = self._backing.loaded()
        ledger = loaded.state_dir / loaded.config.ledger.path
        owner = next((name for name, path in databases(loaded).items() if path == ledger), "ledger")

        def answer(connection: sqlite3.Connection) -> list[dict[str, Any]]:
            if not _columns(connection, "quality_now"):
                return []
            return [{"sink": owner, **rows.table(connection.execute("SELECT * FROM quality_now"), MOST_ROWS)}]

        return await self._reading.answer(request, OwnQuery(lambda: open_read_only(ledger), answer))

    async def _senders(self, request: Request) -> Response:
        known(request)
        loaded = self._backing.loaded()
        since = from_epoch(read_clock().wall_s - _HOUR_S)
        files = {
            "main": loaded.state_dir / loaded.config.ledger.path,
            "dead": loaded.state_dir / loaded.config.dead_letters.path,
            **{f"sink {name}": path for name, path in databases(loaded).items()},
        }

        def answer(connection: sqlite3.Connection) -> dict[str, Any]:
            found: list[tuple[Any, ...]] = []
            if _columns(connection, "quality"):
                found += connection.execute(_QUALITY_SENDERS, (since,)).fetchmany(MOST_ROWS)
            if _columns(connection, "dead_letters"):
                found += connection.execute(_LETTER_SENDERS, (since,)).fetchmany(MOST_ROWS)
            for (schema,) in connection.execute("SELECT name FROM pragma_database_list").fetchall():
                found += _gaps(connection, schema, since)
            found.sort(key=lambda row: -row[3])
            return {"columns": _COLUMNS, "rows": [list(row) for row in found[:_ROWS]]}

        return await self._reading.answer(request, OwnQuery(lambda: open_schemas(files).connection, answer))


def _columns(connection: sqlite3.Connection, table: str, schema: str | None = None) -> list[str]:
    """The columns of a table or view. Empty if there is none."""
    if schema is None:
        found = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
    else:
        found = connection.execute("SELECT name FROM pragma_table_info(?, ?)", (table, schema))
    return [name for (name,) in found]


def _gaps(connection: sqlite3.Connection, schema: str, since: str) -> list[tuple[Any, ...]]:
    """The numbers that are missing by key, from the view `gaps` of docs/how-to/duplicates-and-gaps.md."""
    columns = _columns(connection, "gaps", schema)
    key = [name for name in columns if name not in _GAP_COLUMNS]
    if not key or not _GAP_COLUMNS.issubset(columns):
        return []
    sender = " || ' ' || ".join(f"coalesce({quote(name)}, '')" for name in key)
    return connection.execute(
        f"SELECT {sender}, '', 'missing numbers', sum(missing), max(noticed_at) FROM {quote(schema)}.gaps"  # noqa: S608 - quoted
        " WHERE noticed_at >= ? AND missing > 0 GROUP BY 1",
        (since,),
    ).fetchmany(MOST_ROWS)
