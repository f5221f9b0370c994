"""Writes batches to one table of one open database, each write in one transaction."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Any

import structlog

from streamd.core.batch import Batch
from streamd.core.contracts import Written
from streamd.core.counters import Counters
from streamd.core.dead_letter import DeadLetterStore
from streamd.core.errors import EnvironmentFault, SinkError, StreamdError
from streamd.core.sums import Entry
from streamd.sqlite.catch_all import CatchAllRows
from streamd.sqlite.database import Database
from streamd.sqlite.insert import DATA_ERRORS, Insert, RowGatherer, insert_valid_rows
from streamd.sqlite.row_letters import RowLetters
from streamd.sqlite.rows import BadRow, Rows
from streamd.sqlite.table import Table
from streamd.sqlite.typed_rows import JSON_COLUMN, TypedRows

log = structlog.get_logger()

Change = tuple[str, Sequence[Any]]
"""A statement with its parameters."""


class TableWriter:
    """Writes one sink's batches to its table in one database. `counters` are the sink's."""

    def __init__(
        self,
        database: Database,
        table: Table,
        rows: TypedRows | CatchAllRows,
        sink: str,
        dead_letters: DeadLetterStore,
        counters: Counters,
    ) -> None:
        self.database = database
        self._table = table
        self._rows = rows
        self._unique = table.unique
        self._sink = sink
        self._counters = counters
        self._inserts: dict[tuple[tuple[str, ...], tuple[str, ...]], Insert] = {}
        self._letters = RowLetters(sink, dead_letters)
        self._log_pinned = database.write_ahead_log.pinned

    async def open(self) -> None:
        """Create or extend the table. Raises `EnvironmentFault` or `ConfigError`."""
        await self._prepare()
        self.database.recovery.add_user(self._prepare)

    @property
    def trouble(self) -> tuple[str, float] | None:
        """The reason and start (monotonic seconds) of trouble with the database's files."""
        trouble = self.database.recovery.trouble
        return None if trouble is None else (trouble.reason, trouble.since_mono_s)

    def close(self) -> None:
        """Detach from the database, which stays open."""
        self.database.recovery.remove_user(self._prepare)

    async def _prepare(self) -> None:
        """Create or extend the table; called again when another file at the path was opened."""
        try:
            there = await self._table.ensure(self.database)
        except (SinkError, sqlite3.Error) as error:
            raise EnvironmentFault(
                f"cannot prepare the table {self._table.name!r} in {self.database.path}: {error}"
            ) from error
        if isinstance(self._rows, TypedRows) and self._rows.extra == "add_column":
            self._rows = self._rows.with_columns(there)

    async def _prepare_again(self, why: SinkError) -> None:
        try:
            changes = await self._table.changes(self.database)
            await self._prepare()
        except (StreamdError, sqlite3.Error) as error:
            raise SinkError("schema", str(error)) from error
        self._inserts.clear()
        if changes:
            log.warning(
                "table_prepared_again", path=str(self.database.path), table=self._table.name, why=why.detail
            )

    async def write(self, batches: Sequence[Batch], changes: Sequence[Change] = ()) -> Written:
        """Commit all batches in one transaction. Rejected records are stored as dead letters first.

        The statements `changes` go into the same transaction; if one of them fails, so does the write, with
        `sqlite3.IntegrityError`.

        Raises `SinkError`; nothing is committed then. A record of seven columns costs about 1.3 µs, 1.1 µs of
        it on the connection's thread.
        """
        try:
            written = await self._written(batches, changes)
        except SinkError as error:
            if error.reason == "schema":  # another program changed the table; prepare it for the retry
                await self._prepare_again(error)
            raise
        self._letters.forget()
        log_pinned = self.database.write_ahead_log.pinned
        if log_pinned > self._log_pinned:
            self._counters.add("wal_pinned", log_pinned - self._log_pinned)
            self._log_pinned = log_pinned
        return written

    async def _written(self, batches: Sequence[Batch], changes: Sequence[Change]) -> Written:
        try:
            return await self._write_at_once(batches, changes) or await self._write(
                batches, changes, careful=False
            )
        except DATA_ERRORS:
            # Statements after the failed one have run too, so begin again to keep the order.
            return await self._write(batches, changes, careful=True)

    async def _write_at_once(self, batches: Sequence[Batch], changes: Sequence[Change]) -> Written | None:
        """Write in one call to the database's thread; None if that is not possible.

        It is not with `unique`, rejects, new columns or dropped fields.
        """
        if self._unique:
            return None
        runs: list[Iterable[Change]] = [changes]
        parts: list[Iterable[Any]] = []
        count = fields_as_json = 0
        last: Insert | None = None
        for batch in batches:
            stream = self._rows.stream(batch) if batch.records else None
            if stream is None:
                rows = self._rows.of(batch)
                if rows.rejects or rows.new_columns or rows.dropped_fields:
                    return None
                stream = (rows.columns, chain.from_iterable(rows.rows))
                fields_as_json += rows.fields_as_json
            insert = self._insert(stream[0], self._rows)
            if last is not None and insert is not last:
                runs.append(last.statements(chain.from_iterable(parts), count))
                parts, count = [], 0
            last = insert
            parts.append(stream[1])
            count += len(batch)
        if last is not None:
            runs.append(last.statements(chain.from_iterable(parts), count))
        written = Written.whole(len(batches))
        await self.database.write(chain.from_iterable(runs), self._entries(batches, written))
        if fields_as_json:
            self._counters.add("extra_as_json", fields_as_json)
        return written

    async def _write(self, batches: Sequence[Batch], changes: Sequence[Change], *, careful: bool) -> Written:
        database, maker = self.database, self._rows
        written = Written.whole(len(batches))
        refused: list[tuple[Batch, BadRow]] = []
        dropped_fields = fields_as_json = 0
        async with database.transaction() as entries:
            for sql, params in changes:
                await database.execute(sql, params)
            gathered = RowGatherer(database)
            tops = [database.submit(self._table.top_sql)] if self._unique else []
            for place, batch in enumerate(batches):
                rows, maker = await self._rows_of(batch, maker)
                statement = self._insert(rows.columns, maker)
                if careful:
                    bad = await insert_valid_rows(database, statement, rows.rows)
                    rows.rejects += [BadRow(rows.indexes[row], reason, detail) for row, reason, detail in bad]
                else:
                    await gathered.put(statement, rows.rows)
                if self._unique:
                    await gathered.flush()
                    tops.append(database.submit(self._table.top_sql))
                written.rejected[place] = sorted(reject.index for reject in rows.rejects)
                refused += [(batch, reject) for reject in rows.rejects]
                dropped_fields += rows.dropped_fields
                fields_as_json += rows.fields_as_json
            await gathered.flush()
            await database.settle()
            for place, (before, after) in enumerate(pairwise(top.result()[0][0] or 0 for top in tops)):
                stored = len(batches[place]) - len(written.rejected[place])
                written.replaced[place] = stored - (after - before)
            await self._letters.keep(refused)
            entries.extend(self._entries(batches, written))
        if dropped_fields:
            self._counters.add("extra_dropped", dropped_fields)
        if fields_as_json:
            self._counters.add("extra_as_json", fields_as_json)
        self._rows = maker
        return written

    async def _rows_of(
        self, batch: Batch, maker: TypedRows | CatchAllRows
    ) -> tuple[Rows, TypedRows | CatchAllRows]:
        """The rows of a batch, and the maker that made them: a new one if the table got columns."""
        rows = maker.of(batch)
        if rows.new_columns and isinstance(maker, TypedRows):
            await self.database.settle()
            there = await self._table.existing_columns(self.database)
            maker = maker.with_columns(there)  # another sink may have added some, perhaps in another case
            rows = maker.of(batch)
            taken = set(map(str.lower, there))
            new = {column: JSON_COLUMN.get(column, "ANY") for column in rows.new_columns}
            for column, kind in new.items():
                if column.lower() not in taken:  # the maker knows no existing column of a foreign type
                    await self.database.execute(self._table.add_column_sql(column, kind))
            if new:
                maker = maker.with_columns(new)
                rows = maker.of(batch)
            self._inserts.clear()  # else columns added one by one would leave a statement for each shape
        return rows, maker

    def _insert(self, columns: tuple[str, ...], maker: TypedRows | CatchAllRows) -> Insert:
        every = tuple(maker.columns)
        found = self._inserts.get((columns, every))
        if found is None:
            found = self._inserts[columns, every] = Insert(
                self._table.name, columns, self._unique, every, maker.bools
            )
        return found

    def _entries(self, batches: Sequence[Batch], written: Written) -> list[Entry]:
        """The ledger entries for the same transaction."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for batch, rejected, replaced in zip(batches, written.rejected, written.replaced, strict=True):
            counts[batch.source, batch.pipeline, "stored"] += len(batch) - len(rejected)
            counts[batch.source, batch.pipeline, "replaced"] += replaced
        return [
            Entry(source, pipeline, self._sink, counter, "", n)
            for (source, pipeline, counter), n in counts.items()
            if n
        ]
