"""Hints for a query with an unknown table or column: the existing names and the files searched."""

import difflib
import re
import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from streamd.core.printable import escape
from streamd.sqlite.read_only import QueryRefused, only_reading
from streamd.sqlite.table import quote

_WRONG = re.compile(r"no such (table|column): (.*)", re.DOTALL)
_MOST_SHOWN = 40
"""The most names in one list, because a database may have thousands."""


class Place(NamedTuple):
    """A table or view. `schema` is empty if the name alone selects it."""

    schema: str
    name: str
    file: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


def with_hint(refused: QueryRefused, connection: sqlite3.Connection, sql: str) -> QueryRefused:
    """The refusal with the known names added if it is about an unknown name, else unchanged."""
    found = _WRONG.match(str(refused))
    if found is None:
        return refused
    kind, name = found.groups()
    try:
        with only_reading(connection):
            places = list(_places(connection))
            hint = _tables(name, places) if kind == "table" else _columns(name, connection, places, sql)
    except (QueryRefused, sqlite3.Error):
        return refused
    return QueryRefused(f"{refused}{hint}")


def tables_of(connection: sqlite3.Connection) -> str:
    """The existing tables as a list for a sentence, or `none`."""
    with only_reading(connection):
        return _list([str(place) for place in _places(connection)]) or "none"


def _places(connection: sqlite3.Connection) -> Iterator[Place]:
    seen: set[str] = set()
    for _, schema, file in connection.execute("PRAGMA database_list").fetchall():
        if schema == "temp":
            continue
        names = connection.execute(
            f"SELECT name FROM {quote(schema)}.sqlite_schema WHERE type IN ('table', 'view')"  # noqa: S608 - quoted
            " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid"
        )
        for (name,) in names.fetchall():
            yield Place(schema if name.lower() in seen else "", name, file)
            seen.add(name.lower())


def _tables(name: str, places: Sequence[Place]) -> str:
    by_file: dict[str, list[str]] = {}
    for place in places:
        by_file.setdefault(place.file, []).append(str(place))
    there = "; ".join(f"{_list(names)} in {escape(file)}" for file, names in by_file.items())
    return f"{_close(name, [place.name for place in places])}; there are {there or 'no tables yet'}"


def _columns(name: str, connection: sqlite3.Connection, places: Sequence[Place], sql: str) -> str:
    """The columns of the tables that the statement names."""
    words = {word.lower() for word in re.findall(r"\w+", sql)}
    known: dict[str, list[str]] = {}
    for place in places:
        if place.name.lower() in words and str(place) == place.name:
            rows = connection.execute(f"PRAGMA table_info({quote(place.name)})").fetchall()
            known[place.name] = [column for _, column, *_ in rows]
    every = [column for columns in known.values() for column in columns]
    there = "; ".join(f"{escape(table)} has {_list(columns)}" for table, columns in known.items())
    text = " (a text is written in 'single quotes')" if f'"{name}"' in sql else ""
    return f"{_close(name.rpartition('.')[2], every)}{text}{'; ' * bool(there)}{there}"


def _close(name: str, known: Sequence[str]) -> str:
    lower = {word.lower(): word for word in known}
    close = difflib.get_close_matches(name.lower(), list(lower), 1)
    return f" (did you mean {escape(lower[close[0]])}?)" if close else ""


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(map(escape, names[:_MOST_SHOWN])) + more
