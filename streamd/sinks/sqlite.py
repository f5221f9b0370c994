"""Rows in a SQLite table, typed by a schema, or whole records as JSON."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from streamd.core.batch import Batch
from streamd.core.books import Entry
from streamd.core.contracts import Sink, SinkContext, Written
from streamd.core.dead_letter import DeadLetter
from streamd.core.errors import ConfigError, EnvironmentFault, SinkError
from streamd.core.schema import FieldSettings, FieldType, Schema
from streamd.core.settings import Settings, SinkSettings, SizeBytes
from streamd.storage.catch_all import CatchAllRows
from streamd.storage.columns import FIELD_TYPES
from streamd.storage.database import Database
from streamd.storage.insert import DATA_ERRORS, Gathered, Insert, insert_what_can_be
from streamd.storage.rows import Reject, Rows
from streamd.storage.table import CATCH_ALL_COLUMNS, Table
from streamd.storage.typed_rows import ColumnSettings, Extra, TypedRows

_ADDED = FieldSettings(type="any", required=False)


def _column(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


Column = Annotated[
    ColumnSettings, BeforeValidator(_column, json_schema_input_type=FieldType | dict[str, Any])
]


class RetentionSettings(Settings):
    """What is kept, and what is kept free."""

    min_free: SizeBytes = Field(
        "64MiB",  # type: ignore[assignment]  # parsed by the validator
        description="stop writing while the file system has less than this left",
    )


class Sqlite(Sink):
    """Stores records in one table of one SQLite file, every write in one transaction.

    With a `schema` or `columns` the table is STRICT and typed, without it is the catch-all of JSON records.
    `notes` counts `extra_dropped`: fields given up because they have no column.
    """

    class Config(SinkSettings):
        """What the configuration may say of this sink."""

        path: str = Field(
            "streamd.db", description="the database file, relative to daemon.state_dir", min_length=1
        )
        table: str = Field("records", description="the table; made when it is not there")
        schema_name: str | None = Field(
            None, alias="schema", description="a schema by name: a column for each field"
        )
        columns: dict[str, Column] = Field(
            {}, description="columns by name, added to those of the schema or in place of them"
        )
        metadata: bool = Field(False, description="add the columns received_at, source and peer")
        extra: Extra = Field(
            "json",
            description="fields without a column: json (kept in the column extra), add_column (of type ANY),"
            " reject (the record) or drop (counted)",
        )
        unique: list[str] = Field(
            [], description="columns that name a row: a later record replaces an earlier one"
        )
        indexes: list[list[str]] = Field([], description="indexes, each a list of columns")
        synchronous: Literal["normal", "full"] = Field(
            "normal",
            description="full: a committed record survives power loss; normal: a crash of the daemon only",
        )
        retention: RetentionSettings = Field(
            RetentionSettings(), description="what is kept, and what is kept free"
        )

    config: "Sqlite.Config"

    def __init__(self, config: Any, context: SinkContext) -> None:
        super().__init__(config, context)
        self.path = (context.state_dir / self.config.path).resolve()
        self.table = self.config.table
        if self.path == (context.state_dir / "dead-letters.db").resolve():
            raise ConfigError(f"{self.path} is where the dead letters are kept: name another path")
        fields = self._fields()
        self._rows: TypedRows | CatchAllRows
        if fields:
            self._rows = TypedRows(fields, metadata=self.config.metadata, extra=self.config.extra)
        else:
            self._rows = CatchAllRows()
        self._table = Table(
            self.table,
            self._rows.columns if isinstance(self._rows, TypedRows) else CATCH_ALL_COLUMNS,
            unique=self.config.unique,
            indexes=self.config.indexes,
            catch_all=not fields,
        )
        self._inserts: dict[tuple[tuple[str, ...], tuple[str, ...]], Insert] = {}
        self._database: Database | None = None
        self._letters_kept: dict[tuple[int, int], Batch] = {}

    def _fields(self) -> dict[str, FieldSettings]:
        """The columns that hold fields, in order. Raises `ConfigError`."""
        config = self.config
        fields: dict[str, FieldSettings] = {}
        if config.schema_name is not None:
            if config.schema_name not in self.context.schemas:
                raise ConfigError(f"there is no schema {config.schema_name!r}")
            fields |= self.context.schemas[config.schema_name].fields
        fields |= config.columns
        if not fields:
            for key, given in (
                ("unique", bool(config.unique)),
                ("extra", "extra" in config.model_fields_set),
                ("metadata", "metadata" in config.model_fields_set and not config.metadata),
            ):
                if given:
                    raise ConfigError(f"{key!r} needs columns: give the sink a schema or columns")
        for name in config.unique:
            if name in fields and not fields[name].required:
                fields[name] = fields[name].model_copy(update={"required": True})
        return fields

    def accepts_typed(self, schema: Schema) -> bool:
        """Flat records are written as they are where each field has a column of its type and name."""
        return self._rows.accepts_typed(schema)

    async def open(self) -> None:
        """Open the file, make the table or bring it up to date. Raises `EnvironmentFault`, `ConfigError`."""
        self._database = await self.context.databases.acquire(self.path, self.config.synchronous)
        try:
            there = await self._table.ensure(self._live)
        except (SinkError, sqlite3.Error) as error:
            await self.close()
            raise EnvironmentFault(
                f"cannot prepare the table {self.table!r} in {self.path}: {error}"
            ) from error
        except ConfigError:
            await self.close()
            raise
        if isinstance(self._rows, TypedRows) and self.config.extra == "add_column":
            ours = {column.lower() for column in self._rows.columns}
            added = {
                column: FieldSettings(type=FIELD_TYPES[kind], required=False)
                for column, kind in there.items()
                if column.lower() not in ours and kind in FIELD_TYPES
            }
            self._rows = self._rows.extended(added)

    async def close(self) -> None:
        """Give the file back; the last one that used it closes it."""
        database, self._database = self._database, None
        if database is not None:
            await self.context.databases.release(database)

    async def write(self, batches: Sequence[Batch]) -> Written:
        """Commit all batches in one transaction; what cannot be stored is in the dead letters before.

        Raises `SinkError`: nothing is committed. About 1.3 µs a record of seven columns, 1.1 of it on the
        connection's thread.
        """
        self._check_free()
        try:
            written = await self._write_at_once(batches) or await self._write(batches, careful=False)
        except DATA_ERRORS:
            # Statements behind the failed one have run by now; from the start, so that order is kept.
            written = await self._write(batches, careful=True)
        self._letters_kept.clear()
        return written

    async def _write_at_once(self, batches: Sequence[Batch]) -> Written | None:
        """All in one trip to the database's thread; None where there is more to do than inserting."""
        if self.config.unique:
            return None
        statements: list[tuple[str, list[Any]]] = []
        parts: list[Iterable[Any]] = []
        count = 0
        last: Insert | None = None
        for batch in batches:
            stream = self._rows.stream(batch) if batch.records else None
            if stream is None:
                rows = self._rows.of(batch)
                if rows.rejects or rows.new_columns or rows.dropped_fields:
                    return None
                stream = (rows.columns, chain.from_iterable(rows.rows))
            insert = self._insert(stream[0], self._rows)
            if last is not None and insert is not last:
                statements += last.statements(chain.from_iterable(parts), count)
                parts, count = [], 0
            last = insert
            parts.append(stream[1])
            count += len(batch)
        if last is not None:
            statements += last.statements(chain.from_iterable(parts), count)
        written = Written([0] * len(batches), [0] * len(batches))
        await self._live.write(statements, self._entries(batches, written))
        return written

    async def _write(self, batches: Sequence[Batch], *, careful: bool) -> Written:
        database, maker = self._live, self._rows
        written = Written([0] * len(batches), [0] * len(batches))
        refused: list[tuple[Batch, Reject]] = []
        dropped_fields = 0
        async with database.transaction() as entries:
            gathered = Gathered(database)
            tops = [database.submit(self._table.top_sql)] if self.config.unique else []
            for place, batch in enumerate(batches):
                rows, maker = await self._rows_of(batch, maker)
                statement = self._insert(rows.columns, maker)
                if careful:
                    bad = await insert_what_can_be(database, statement, rows.rows)
                    rows.rejects += [Reject(rows.indexes[row], reason, detail) for row, reason, detail in bad]
                else:
                    await gathered.put(statement, rows.rows)
                if self.config.unique:
                    await gathered.flush()
                    tops.append(database.submit(self._table.top_sql))
                written.rejected[place] = len(rows.rejects)
                refused += [(batch, reject) for reject in rows.rejects]
                dropped_fields += rows.dropped_fields
            await gathered.flush()
            await database.settle()
            for place, (before, after) in enumerate(pairwise(top.result()[0][0] or 0 for top in tops)):
                stored = len(batches[place]) - written.rejected[place]
                written.replaced[place] = stored - (after - before)
            await self._keep(refused)
            entries.extend(self._entries(batches, written))
        if dropped_fields:
            self.notes["extra_dropped"] += dropped_fields
        self._rows = maker
        return written

    @property
    def _live(self) -> Database:
        if self._database is None:
            raise RuntimeError(f"the sink {self.context.name!r} is not open")
        return self._database

    def _check_free(self) -> None:
        if self.config.retention.min_free == 0:
            return
        free_bytes = self._live.free_bytes()
        if free_bytes < self.config.retention.min_free:
            raise SinkError(
                "min_free",
                f"{free_bytes >> 20} MiB are free on the file system of {self.path}, retention.min_free"
                f" keeps {self.config.retention.min_free >> 20} MiB",
            )

    async def _rows_of(
        self, batch: Batch, maker: TypedRows | CatchAllRows
    ) -> tuple[Rows, TypedRows | CatchAllRows]:
        """The rows of a batch, and the maker that made them: another where the table had to get columns."""
        rows = maker.of(batch)
        if rows.new_columns and isinstance(maker, TypedRows):
            await self._live.settle()
            there = await self._table.columns_there(self._live)
            for column in rows.new_columns:
                if column.lower() not in there:  # another sink on this table may have been faster
                    await self._live.execute(self._table.add_column_sql(column, "ANY"))
            maker = maker.extended(dict.fromkeys(rows.new_columns, _ADDED))
            self._inserts.clear()  # whoever adds columns one by one shall not make us keep a text for each
            rows = maker.of(batch)
        return rows, maker

    def _insert(self, columns: tuple[str, ...], maker: TypedRows | CatchAllRows) -> Insert:
        every = tuple(maker.columns)
        found = self._inserts.get((columns, every))
        if found is None:
            found = self._inserts[columns, every] = Insert(
                self.table, columns, self.config.unique, every, maker.bools
            )
        return found

    async def _keep(self, refused: list[tuple[Batch, Reject]]) -> None:
        """Commit the dead letters. A second attempt at the same batches brings none a second time."""
        letters = [
            self._letter(batch, reject)
            for batch, reject in refused
            if (id(batch), reject.index) not in self._letters_kept
        ]
        if letters:
            await self.context.dead_letters.commit(letters)
        for batch, reject in refused:  # holding the batch keeps its id from being given to another
            self._letters_kept[id(batch), reject.index] = batch

    def _letter(self, batch: Batch, reject: Reject) -> DeadLetter:
        received_at = batch.received_at if isinstance(batch.received_at, float) else batch.received_at[0]
        if not batch.lifted and not isinstance(batch.received_at, float):
            received_at = batch.received_at[reject.index]
        return DeadLetter(
            batch.record(reject.index),
            "sink",
            reject.reason,
            reject.detail,
            source=batch.source,
            peer=batch.peer(reject.index),
            received_at=received_at,
            pipeline=batch.pipeline,
            sink=self.context.name,
        )

    def _entries(self, batches: Sequence[Batch], written: Written) -> list[Entry]:
        """What the ledger writes in the same transaction."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for batch, rejected, replaced in zip(batches, written.rejected, written.replaced, strict=True):
            counts[batch.source, batch.pipeline, "stored"] += len(batch) - rejected
            counts[batch.source, batch.pipeline, "replaced"] += replaced
        return [
            Entry(source, pipeline, self.context.name, counter, "", n)
            for (source, pipeline, counter), n in counts.items()
            if n
        ]
