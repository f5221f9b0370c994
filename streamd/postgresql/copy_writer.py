"""Puts batches into one table in one transaction, by binary COPY. Everything here blocks."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any

import psycopg

from streamd.core.batch import Batch
from streamd.core.contracts import Written
from streamd.core.errors import BadData, SinkError
from streamd.core.schema import FieldSettings
from streamd.core.tenure import StoredUpTo
from streamd.positions.stored_parts import Claim
from streamd.postgresql.column_types import FIELD_OF, Convert, Encoding, check, encoding_of
from streamd.postgresql.faults import DATA_ERRORS, in_words, is_about_rows, row_reason
from streamd.postgresql.names import quote
from streamd.postgresql.staging import Staging
from streamd.postgresql.table import FoundTable, ServerTable
from streamd.sqlite.catch_all import CatchAllRows
from streamd.sqlite.rows import BadRow, Rows
from streamd.sqlite.typed_rows import TypedRows

Connection = psycopg.Connection[Any]
_EXTRA = "extra"
_CHECK_NOW = "SET CONSTRAINTS ALL IMMEDIATE"
"""Else COMMIT would find bad rows, and not say which."""
_PART_ROWS = 500
"""Rows that are encoded together."""


@dataclass(slots=True)
class Attempt:
    """One transaction: the fate of its batches, and the number by which the server knows it."""

    batches: Sequence[Batch]
    written: Written
    refused: list[tuple[Batch, BadRow]] = field(default_factory=list)
    dropped_fields: int = 0
    fields_as_json: int = 0
    xid: str = ""
    epoch: str | None = None
    committed: bool = False
    moves: Mapping[Claim, StoredUpTo] = field(default_factory=dict)
    """How far inputs are stored with this transaction."""

    def note(self, place: int, rows: Rows) -> None:
        """Add what the rows of the batch at `place` leave out."""
        self.written.rejected[place] = sorted(reject.index for reject in rows.rejects)
        self.refused += [(self.batches[place], reject) for reject in rows.rejects]
        self.dropped_fields += rows.dropped_fields
        self.fields_as_json += rows.fields_as_json


@dataclass(slots=True)
class _RowRun:
    """Rows of consecutive batches that one COPY sends. `places` are those of the batches."""

    key: tuple[Any, ...]
    columns: tuple[str, ...]
    parts: list[Sequence[Any]] = field(default_factory=list)
    """The values of the rows, one row after the other."""
    places: list[int] = field(default_factory=list)

    @property
    def values(self) -> Sequence[Any]:
        """The values of all rows, one row after the other."""
        return self.parts[0] if len(self.parts) == 1 else list(chain.from_iterable(self.parts))


class CopyWriter:
    """Writes to one table. `step` is called after each statement that the server has finished."""

    def __init__(
        self, table: ServerTable, rows: TypedRows | CatchAllRows, *, updates: bool, step: Callable[[], None]
    ) -> None:
        self._table = table
        self._rows = rows
        self._updates = updates
        self._step = step
        self._found: FoundTable | None = None
        self._epoch: str | None = None
        self._staging: Staging | None = None
        self._encodings: dict[tuple[str, ...], tuple[Encoding, ...]] = {}

    def prepare(self, connection: Connection) -> None:
        """Create or extend the table. Raises `ConfigError`, `EnvironmentFault` or `psycopg.Error`."""
        self._epoch = epoch_of(connection)
        self._use(connection, self._table.ensure(connection))

    def has_rows_of(self, connection: Connection, attempt: Attempt) -> bool:
        """Whether the table has a row that the transaction has written. Reads the whole table."""
        sql = f"SELECT EXISTS (SELECT FROM {self._table.sql_name} WHERE xmin = (%s::xid8)::xid)"  # noqa: S608 - it is quoted
        with connection.transaction():
            connection.execute("SET LOCAL statement_timeout = 0")
            row = connection.execute(sql, (attempt.xid,)).fetchone()
        return row is not None and bool(row[0])

    def _use(self, connection: Connection, found: FoundTable) -> None:
        rows = self._rows
        if isinstance(rows, TypedRows) and rows.extra == "add_column":
            rows = self._rows = _extended(rows, found)
        self._found = found
        self._encodings.clear()
        if self._table.unique:
            self._staging = Staging(
                self._table, tuple(rows.columns), updates=self._updates, partitioned=found.partitioned
            )
            self._staging.make(connection)
        self._step()

    def put(self, connection: Connection, batches: Sequence[Batch]) -> Attempt:
        """Store the rows in a transaction that stays open. Raises `SinkError`, or any of `DATA_ERRORS`."""
        made = [self._made(batch) for batch in batches]
        while any(rows.new_columns for rows, _ in made):
            self._add_columns(connection, [rows for rows, _ in made])
            made = [self._made(batch) for batch in batches]
        try:
            return self._put(connection, made, batches)
        except DATA_ERRORS as error:
            self._end_refused(connection, error)
        if self._make_partitions(connection, made):
            try:
                return self._put(connection, made, batches)
            except DATA_ERRORS as error:
                self._end_refused(connection, error)
        return self._put_carefully(connection, batches)

    def _end_refused(self, connection: Connection, error: BaseException) -> None:
        """End the transaction if single rows are the cause of the error; else it is raised again."""
        if connection.closed or not is_about_rows(error):
            raise error
        connection.rollback()
        found = self._table.find(connection)
        if found != self._found:  # another program changed the table; else every row would be refused
            raise SinkError("schema", f"the table {self._table.name!r} has changed")

    def _make_partitions(self, connection: Connection, made: Sequence[tuple[Rows, Sequence[Any]]]) -> bool:
        """Make the partitions that the rows lack. Whether any was made."""
        partitions = self._table.partitions
        if partitions is None:
            return False
        texts: set[str] = set()
        for rows, values in made:
            if values:
                texts.update(values[rows.columns.index(partitions.column) :: len(rows.columns)])
        moments = map(datetime.fromisoformat, texts)
        return partitions.make(connection, self._columns_there.oid, moments, self._step) > 0

    def _made(self, batch: Batch) -> tuple[Rows, Sequence[Any]]:
        """The rows of a batch as `Rows`, empty where none can be refused, and the values of all rows.

        The values follow one another, because columns are cut out of such a list six times as fast as out of
        tuples.
        """
        stream = self._rows.stream(batch) if batch.records else None
        if stream is None:
            rows = self._rows.of(batch)
            return rows, list(chain.from_iterable(rows.rows))
        columns, values = stream
        return Rows(columns), values if isinstance(values, list) else list(values)

    def _add_columns(self, connection: Connection, made: Sequence[Rows]) -> None:
        with connection.transaction():
            for column in dict.fromkeys(column for rows in made for column in rows.new_columns):
                connection.execute(self._table.add_column_sql(column, "json"))
            found = self._table.find(connection)
            for statement in self._table.view_changes(connection, found):
                connection.execute(statement)
        if found is None:
            raise SinkError("schema", f"the table {self._table.name!r} is gone")
        self._use(connection, found)

    def _put(
        self, connection: Connection, made: Sequence[tuple[Rows, Sequence[Any]]], batches: Sequence[Batch]
    ) -> Attempt:
        attempt = self._begin(connection, batches)
        runs: list[_RowRun] = []
        for place, (batch, (rows, values)) in enumerate(zip(batches, made, strict=True)):
            if values:
                key = (rows.columns, batch.source, batch.pipeline) if self._table.unique else rows.columns
                if not runs or runs[-1].key != key:
                    runs.append(_RowRun(key, rows.columns))
                runs[-1].parts.append(values)
                runs[-1].places.append(place)
            attempt.note(place, rows)
        for run in runs:
            values = run.values
            replaced = len(values) // len(run.columns) - self._store(connection, run.columns, values)
            for place in run.places:  # all are of one source and pipeline, which the books count together
                here = min(replaced, len(batches[place]) - len(attempt.written.rejected[place]))
                attempt.written.replaced[place] = here
                replaced -= here
        if self._columns_there.checks_at_commit:
            connection.execute(_CHECK_NOW)
        return attempt

    def _put_carefully(self, connection: Connection, batches: Sequence[Batch]) -> Attempt:
        attempt = self._begin(connection, batches)
        connection.execute(_CHECK_NOW)
        for place, batch in enumerate(batches):
            rows = self._rows.of(batch)
            bad, new = self._store_carefully(connection, rows)
            rows.rejects += bad
            attempt.written.replaced[place] = len(rows.rows) - len(bad) - new
            attempt.note(place, rows)
        return attempt

    def _begin(self, connection: Connection, batches: Sequence[Batch]) -> Attempt:
        attempt = Attempt(batches, Written.whole(len(batches)), xid=_begin(connection), epoch=self._epoch)
        self._step()
        return attempt

    def _store(self, connection: Connection, columns: tuple[str, ...], values: Sequence[Any]) -> int:
        """Store rows, given as their values one after the other; how many rows the table has more."""
        rows = len(values) // len(columns)
        encodings = self._encodings_of(columns)
        types = [encoding.copy_type for encoding in encodings]
        converts = [encoding.convert for encoding in encodings]
        staging = self._staging
        if staging is None:
            self._copy(connection, self._table.sql_name, columns, types, _encoded(values, converts))
            return rows
        run = staging.next_run()
        numbered = zip(_encoded(values, converts), range(rows), strict=True)
        self._copy(
            connection,
            staging.sql_name,
            [*columns, *staging.own_columns],
            [*types, "int4", "int4"],
            ((*row, run, number) for row, number in numbered),
        )
        new = staging.insert(connection, run)
        self._step()
        return new

    def _copy(
        self,
        connection: Connection,
        target: str,
        columns: Sequence[str],
        types: Sequence[str],
        rows: Iterable[Sequence[Any]],
    ) -> None:
        sql = f"COPY {target} ({', '.join(map(quote, columns))}) FROM STDIN (FORMAT binary)"
        with connection.cursor() as cursor, cursor.copy(sql) as copy:
            copy.set_types(types)
            deque(map(copy.write_row, rows), maxlen=0)
        self._step()

    def _encodings_of(self, columns: tuple[str, ...]) -> tuple[Encoding, ...]:
        found = self._encodings.get(columns)
        if found is None:
            found = self._encodings[columns] = tuple(
                encoding_of(self._columns_there.types[column]) for column in columns
            )
        return found

    @property
    def _columns_there(self) -> FoundTable:
        if self._found is None:
            raise RuntimeError("the table is not prepared")
        return self._found

    def _store_carefully(self, connection: Connection, rows: Rows) -> tuple[list[BadRow], int]:
        """Store the valid rows. Returns the others, and how many rows the table has more.

        What is not found here is found by halves: n rows of which k are refused take about 2 k log2(n)
        statements, and at most 2 n.
        """
        bad: list[BadRow] = []
        good: list[int] = []
        for place, row in enumerate(rows.rows):
            try:
                self._check_row(rows.columns, row)
            except BadData as fault:
                bad.append(BadRow(rows.indexes[place], fault.reason, fault.detail))
            else:
                good.append(place)
        new = 0
        waiting = [(0, len(good))] if good else []
        while waiting:
            start, stop = waiting.pop()
            connection.execute("SAVEPOINT part")
            try:
                part = chain.from_iterable(rows.rows[place] for place in good[start:stop])
                new += self._store(connection, rows.columns, list(part))
            except DATA_ERRORS as error:
                if connection.closed or not is_about_rows(error):
                    raise
                connection.execute("ROLLBACK TO SAVEPOINT part")
                if stop - start == 1:
                    bad.append(BadRow(rows.indexes[good[start]], row_reason(error), in_words(error)))
                else:
                    middle = (start + stop) // 2
                    waiting += [(middle, stop), (start, middle)]
            connection.execute("RELEASE SAVEPOINT part")
            self._step()
        return bad, new

    def _check_row(self, columns: Sequence[str], row: Sequence[Any]) -> None:
        """Refuse a row for what is known here. Raises `BadData`."""
        types, partitions = self._columns_there.types, self._table.partitions
        for column, value in zip(columns, row, strict=True):
            try:
                check(value, types[column])
                if partitions is not None and column == partitions.column:
                    partitions.check(value)
            except BadData as fault:
                raise BadData(fault.reason, f"{column}: {fault.detail}") from None


def _encoded(values: Sequence[Any], converts: Sequence[Convert | None]) -> Iterator[tuple[Any, ...]]:
    """The rows, converted part by part, so that the server stores one while the next is made."""
    width = len(converts)
    for start in range(0, len(values), _PART_ROWS * width):
        part = values[start : start + _PART_ROWS * width]
        yield from zip(
            *(
                part[place::width] if convert is None else convert(part[place::width])
                for place, convert in enumerate(converts)
            ),
            strict=True,
        )


def epoch_of(connection: Connection) -> str | None:
    """A text that changes if the server crashes or another server takes its place.

    A crashed server discards its statistics. It may also give the number of a transaction again that had not
    reached the disk.
    """
    row = connection.execute("SELECT stats_reset::text FROM pg_stat_bgwriter").fetchone()
    return None if row is None else row[0]


def _begin(connection: Connection) -> str:
    """Begin a transaction; its number, by which its outcome can be asked for later."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN; SELECT pg_current_xact_id()::text")
        cursor.nextset()
        row = cursor.fetchone()
    if row is None:
        raise SinkError("server", "the server gave the transaction no number")
    return str(row[0])


def commit(connection: Connection) -> None:
    """Commit the open transaction. Raises `psycopg.Error`, after which its outcome may be unknown."""
    cursor = connection.execute("COMMIT")
    if cursor.statusmessage != "COMMIT":
        raise SinkError("server", f"the server answered COMMIT with {cursor.statusmessage}")


def _extended(rows: TypedRows, found: FoundTable) -> TypedRows:
    """The maker with the columns of the table that no field of the configuration describes."""
    fields, others = {}, set()
    json_column = False
    for column, kind in found.types.items():
        if column in rows.columns:
            continue
        if column in found.computed or kind.name not in FIELD_OF:
            others.add(column.lower())
        elif column == _EXTRA and FIELD_OF[kind.name] == "json":
            json_column = True
        elif column.lower() not in map(str.lower, rows.columns):
            fields[column] = FieldSettings(type=FIELD_OF[kind.name], required=False)
    return rows.with_fields(fields, json_column=json_column, computed=frozenset(others))
