"""Reads of databases with statements of streamd itself: the senders of the last hour, the quality now.

They may meet what an operator has made in a database, as the view `gaps`. Nothing within this process can end
such SQL in time, so it runs in the process of a statement.
"""

import heapq
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from streamd.admin import rows
from streamd.sqlite.table import quote

MOST_SENDERS = 1000
MOST_RULES = 10_000
_NEWEST_LETTERS = 100_000
"""Older letters are not counted by sender, so that the time for it is bounded."""

_QUALITY_SENDERS = """
SELECT worst_sender, source, 'rule ' || rule || CASE field WHEN '' THEN '' ELSE ' of ' || field END,
sum(worst_failed), max(minute)
FROM main.quality WHERE worst_sender IS NOT NULL AND minute >= ? GROUP BY 1, 2, 3
"""
_LETTER_SENDERS = f"""
SELECT peer, source, 'dead letters: ' || reason, count(*), max(received_at)
FROM dead.dead_letters
WHERE id > (SELECT max(id) FROM dead.dead_letters) - {_NEWEST_LETTERS} AND received_at >= ?
  AND peer IS NOT NULL
GROUP BY 1, 2, 3
"""  # noqa: S608 - no user input
_GAP_COLUMNS = frozenset({"gap_from", "gap_to", "missing", "noticed_at"})
_COLUMNS = ["sender", "source", "found", "records", "last"]

Found = tuple[Any, ...]
"""One of `_COLUMNS`."""


class OthersSql(Exception):  # noqa: N818 - a reason to read elsewhere, and no error
    """A read needs SQL that is not streamd's."""


def senders(connection: sqlite3.Connection, since: str, *, only_own: bool = False) -> dict[str, Any]:
    """The findings by sender since a time, the largest first. `left_out` is the number of others.

    With `only_own` it raises `OthersSql` instead of reading what others have made.
    """
    schemas = [name for (name,) in connection.execute("SELECT name FROM pragma_database_list")]
    if only_own:
        # Even the columns of a view are known only after SQLite has compiled it, which nothing can end.
        others = any(_kinds(connection, schema, "gaps") for schema in schemas)
        if others or not _is_table(connection, schemas, {"main": "quality", "dead": "dead_letters"}):
            raise OthersSql
    parts: list[Iterator[Found]] = []
    if _columns(connection, "quality", "main"):
        parts.append(connection.execute(_QUALITY_SENDERS, (since,)))
    if "dead" in schemas and _columns(connection, "dead_letters", "dead"):
        parts.append(connection.execute(_LETTER_SENDERS, (since,)))
    gaps = filter(None, (_gaps(connection, schema) for schema in schemas))
    parts.extend(connection.execute(query, (since,)) for query in gaps)
    counted = _Counted(chain.from_iterable(parts))
    largest = heapq.nlargest(MOST_SENDERS, counted, key=lambda row: row[3])
    return {
        "columns": _COLUMNS, "rows": [list(row) for row in largest], "left_out": counted.n - len(largest),
    }  # fmt: skip


def quality(connection: sqlite3.Connection, owner: str, *, only_own: bool = False) -> list[dict[str, Any]]:
    """The rows of `quality_now`, if there is such a view. `owner` is the sink with this database."""
    view = connection.execute("SELECT sql FROM main.sqlite_schema WHERE name = 'quality_now'").fetchone()
    if view is None:
        return []
    if only_own and not (view == (_own_view(),) and _is_table(connection, ["main"], {"main": "quality"})):
        raise OthersSql
    found = connection.execute("SELECT * FROM main.quality_now")
    return [{"sink": owner, **rows.table(found, MOST_RULES)}]


def _own_view() -> str:
    """The text of `quality_now` as the daemon makes it."""
    from streamd.ledger.quality import STATEMENTS  # noqa: PLC0415 - too heavy for the process of a statement

    return STATEMENTS[-1].strip()


READS: Mapping[str, Callable[..., Any]] = {"senders": senders, "quality": quality}
"""By the name that the process of a statement is given."""


class _Counted:
    """Counts rows that pass."""

    def __init__(self, found: Iterable[Found]) -> None:
        self.n = 0
        self._found = found

    def __iter__(self) -> Iterator[Found]:
        for row in self._found:
            self.n += 1
            yield row


def _is_table(connection: sqlite3.Connection, schemas: Iterable[str], own: Mapping[str, str]) -> bool:
    """Whether each of streamd's own tables that is there is a table, and no view of that name."""
    return all(
        kind == "table"
        for schema, name in own.items()
        if schema in schemas
        for kind in _kinds(connection, schema, name)
    )


def _kinds(connection: sqlite3.Connection, schema: str, name: str) -> list[str]:
    """What the schema has under this name, in any case of its letters: `table`, `virtual` or `view`."""
    found = connection.execute(
        f"SELECT type, rootpage FROM {quote(schema)}.sqlite_schema WHERE name = ? COLLATE NOCASE",  # noqa: S608 - quoted
        (name,),
    )
    return ["virtual" if (kind, page) == ("table", 0) else kind for kind, page in found]


def _columns(connection: sqlite3.Connection, table: str, schema: str) -> list[str]:
    """The columns of a table or view. Empty if there is none."""
    found = connection.execute("SELECT name FROM pragma_table_info(?, ?)", (table, schema))
    return [name for (name,) in found]


def _gaps(connection: sqlite3.Connection, schema: str) -> str | None:
    """The query of the numbers that are missing by key, from the view `gaps` of
    docs/how-to/duplicates-and-gaps.md. None if the schema has no such view.
    """
    columns = _columns(connection, "gaps", schema)
    key = [name for name in columns if name not in _GAP_COLUMNS]
    if not key or not _GAP_COLUMNS.issubset(columns):
        return None
    sender = " || ' ' || ".join(f"coalesce({quote(name)}, '')" for name in key)
    return (
        f"SELECT {sender}, '', 'missing numbers', sum(missing), max(noticed_at) FROM {quote(schema)}.gaps"  # noqa: S608 - quoted
        " WHERE noticed_at >= ? AND missing > 0 GROUP BY 1"
    )
