"""`streamd.read`: stored records as a data frame, and a second one that shows how complete they are."""

import os
import sqlite3
import time as clock
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

from streamd.config import find, load
from streamd.core.errors import BadData, ConfigError, EnvironmentFault
from streamd.core.listed import listed
from streamd.core.moment import moment as parse_moment
from streamd.core.schema import FieldType
from streamd.core.timestamp import canonical, from_epoch
from streamd.ledger.tables import completeness
from streamd.reading import frames
from streamd.reading.stored import StoredTable, in_file, of_configuration
from streamd.sqlite.columns import FIELD_TYPES
from streamd.sqlite.condition import bracketed
from streamd.sqlite.read_only import is_there, only_reading, open_read_only
from streamd.sqlite.rows import METADATA_COLUMNS
from streamd.sqlite.table import quote

Moment = datetime | timedelta | str | float
"""A point in time: a datetime with its zone, RFC 3339 text, epoch seconds, or an age (timedelta, `"10m"`)."""

_COMPLETENESS: dict[str, FieldType] = {
    "minute": "timestamp", "source": "str", "received": "int", "rejected": "int", "lost": "int",
    "percent": "float",
}  # fmt: skip


class Reading(NamedTuple):
    """The result of `read`, to be unpacked: `frame, completeness = streamd.read(…)`.

    `frame` holds the records. `completeness` has a row for each minute and source in the requested time:
    `minute`, `source`, `received`, `rejected` and `lost` (frames and records), `percent`. `percent` is
    missing if it is unknown because the daemon was killed. If a minute has no row, the daemon counted
    nothing in it: it received nothing or did not run.
    """

    frame: Any
    completeness: Any


def read(
    table: str,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    where: str | None = None,
    parameters: Sequence[Any] | Mapping[str, Any] = (),
    columns: Sequence[str] | None = None,
    time: str | None = None,
    config: str | os.PathLike[str] | None = None,
    db: str | os.PathLike[str] | None = None,
    engine: Literal["pandas", "polars"] = "pandas",
) -> Reading:
    """Read the records of a table, or of a sink by its name, in the order in which they were stored.

    Only records with `since` <= `time` < `until` are read. `time` names a column. Default: `received_at` if
    the table has it, else the only timestamp column. `where` is a condition in SQL, with `parameters` for
    its `?` or `:name`. The column types come from the configuration (`config`, or the one that `streamd`
    finds). With `db` one file is read without a configuration, and the types come from SQL and from the
    names of streamd's own columns.

    The daemon may write meanwhile; the file is opened read-only. All rows are held in memory, once as Python
    values. Raises `StreamdError`: `ConfigError` for contradicting or unknown arguments, `QueryRefused` if
    SQLite refuses the query, `EnvironmentFault` if the file, the table or the package is missing. Warns of
    files under a dated path that are no databases.
    """
    make = frames.maker(engine)
    if config is not None and db is not None:
        raise ConfigError("name a configuration or a file: config and db exclude each other")
    stored = (
        in_file(Path(db), table)
        if db is not None
        else of_configuration(load(find(None if config is None else os.fspath(config))), table)
    )
    bounds = _text(since, "since"), _text(until, "until")
    files = _files(stored)
    columns = _each_once(columns)
    types: dict[str, FieldType] = {}
    values: dict[str, list[Any]] = {}
    found, length = False, 0
    for path in files:
        with closing(open_read_only(path)) as connection, only_reading(connection):
            there = _columns(connection, stored)
            found = found or bool(there)
            types |= {column: kind for column, kind in there.items() if column not in types}
            wanted = list(there) if columns is None else [name for name in columns if name in there]
            if not wanted:
                continue
            asked = None if where is None else bracketed(connection, stored.table, where, parameters)
            sql = _select(table=stored.table, columns=wanted, where=_where(there, time, bounds, asked))
            for rows in _chunks(connection.execute(sql, parameters)):
                for name, part in zip(wanted, zip(*rows, strict=True), strict=True):
                    known = values.setdefault(name, [None] * length)  # older files may lack this column
                    known.extend(part)
                length += len(rows)
                for name in values.keys() - set(wanted):
                    values[name].extend([None] * len(rows))
    if not found:
        raise EnvironmentFault(f"there is no table {stored.table!r} in {files[-1]} yet")
    order = list(types) if columns is None else list(columns)
    if unknown := [name for name in order if name not in types]:
        raise ConfigError(f"{stored.table!r} has no column {unknown[0]!r}; it has {listed(types)}")
    frame = make({name: (types[name], values.get(name, [])) for name in order})
    return Reading(frame, make(_completeness(stored, bounds)))


def _files(stored: StoredTable) -> list[Path]:
    for path, why in stored.left_out().items():
        warnings.warn(f"{path} is left out: {why}", stacklevel=3)
    files = stored.files()
    if not files:
        open_read_only(stored.path)  # raises the error about the missing file
    return files


def _each_once(columns: Sequence[str] | None) -> list[str] | None:
    """The requested columns without repetitions; None for all. Raises `ConfigError` for an empty list."""
    if columns is None:
        return None
    if not columns:
        raise ConfigError("columns is empty: name at least one, or leave it out for all")
    return list(dict.fromkeys(columns))


def _text(moment: Moment | None, key: str) -> str | None:
    """The moment as the text that tables store. Raises `ConfigError`."""
    if moment is None:
        return None
    try:
        if isinstance(moment, timedelta):
            return from_epoch(clock.time() - moment.total_seconds())
        if isinstance(moment, str):
            return parse_moment(moment, clock.time())
        return canonical(moment.isoformat() if isinstance(moment, datetime) else moment)
    except BadData as bad:
        raise ConfigError(f"{key}: no time with its zone: {bad.detail}") from None
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


def _columns(connection: sqlite3.Connection, stored: StoredTable) -> dict[str, FieldType]:
    """The type of each column in this file; empty if the file has no such table."""
    # Not as the table-valued function, for which SQLite asks the authorizer to allow a write to the schema.
    rows = [
        (name, sql_type.upper())
        for _, name, sql_type, *_ in connection.execute(f"PRAGMA main.table_info({quote(stored.table)})")
    ]
    known = {name.lower(): kind for name, kind in stored.types.items()}
    if not known and {column for column, _ in rows} >= METADATA_COLUMNS.keys():
        known = {"received_at": "timestamp"}
    return {column: known.get(column.lower(), FIELD_TYPES.get(kind, "any")) for column, kind in rows}


def _where(
    there: Mapping[str, FieldType], time: str | None, bounds: tuple[str | None, str | None], where: str | None
) -> str:
    clauses = [] if where is None else [where]
    if any(bounds):
        column = _time_column(there, time)
        clauses += [f"{column} {sign} '{at}'" for sign, at in zip((">=", "<"), bounds, strict=True) if at]
    return f" WHERE {' AND '.join(clauses)}" if clauses else ""


def _time_column(there: Mapping[str, FieldType], time: str | None) -> str:
    times = [column for column, kind in there.items() if kind == "timestamp"]
    if time is None and "received_at" in times:
        time = "received_at"
    elif time is None and len(times) == 1:
        (time,) = times
    if time is None:
        raise ConfigError(
            f"since and until need time = a timestamp column: {listed(times) or 'there is none'}"
        )
    if time not in there:
        raise ConfigError(f"there is no column {time!r}; there are {listed(there)}")
    return quote(time)


def _select(table: str, columns: Sequence[str], where: str) -> str:
    names = ", ".join(map(quote, columns)) or "NULL"
    return f"SELECT {names} FROM main.{quote(table)}{where}"  # noqa: S608 - names are quoted; `where` is the user's condition


def _chunks(cursor: sqlite3.Cursor) -> Iterator[list[tuple[Any, ...]]]:
    while rows := cursor.fetchmany(10_000):
        yield rows


def _on_its_way(stored: StoredTable) -> str:
    """An SQL condition for the ledger entries about records on their way to the table."""
    if stored.pipelines is None or stored.sink is None:
        return "1"
    pipelines = ", ".join(_literal(name) for name in ["", *sorted(stored.pipelines)])
    return f"pipeline IN ({pipelines}) AND sink IN ('', {_literal(stored.sink)})"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _completeness(
    stored: StoredTable, bounds: tuple[str | None, str | None]
) -> dict[str, tuple[FieldType, list[Any]]]:
    """The ledger's completeness in the requested minutes, of records on their way to this table only."""
    since, until = bounds
    rows: list[tuple[Any, ...]] = []
    if is_there(stored.ledger):
        with closing(open_read_only(stored.ledger)) as connection, only_reading(connection):
            if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'completeness'").fetchone():
                counted = completeness(_on_its_way(stored))
                rows = connection.execute(
                    f"SELECT minute, source, received, rejected, lost, percent FROM ({counted})"  # noqa: S608 - our own
                    " WHERE minute >= ? AND minute < ? ORDER BY minute, source",
                    (f"{since[:17]}00.000000Z" if since else "", until or "~"),
                ).fetchall()
    rows = [row for row in rows if stored.sources is None or row[1] in stored.sources]
    return {
        name: (kind, [row[place] for row in rows]) for place, (name, kind) in enumerate(_COMPLETENESS.items())
    }
