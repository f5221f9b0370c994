"""Stores records in a SQLite table, as rows typed by a schema or as JSON."""

import asyncio
import os
import socket
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field

from streamd.core.batch import Batch
from streamd.core.contracts import Sink, SinkContext, Written
from streamd.core.errors import ConfigError, SinkError
from streamd.core.schema import FieldSettings, Schema
from streamd.core.settings import DurationS, Settings, SinkOutput, SinkSettings, SizeBytes
from streamd.core.tenure import Claimed, Tenure
from streamd.files.dated import DatedPath, is_dated
from streamd.positions.stored_parts import FENCED, StoredParts
from streamd.sqlite.catch_all import CatchAllRows
from streamd.sqlite.columns import Column, declared_fields, refuse_options_of_columns
from streamd.sqlite.databases import Databases
from streamd.sqlite.dated_writer import DatedWriter
from streamd.sqlite.files import free_bytes
from streamd.sqlite.position_table import PositionTable
from streamd.sqlite.rehearsal import rehearse_table
from streamd.sqlite.retention import Age, Retention, run_retention
from streamd.sqlite.table import CATCH_ALL_COLUMNS, Table
from streamd.sqlite.table_writer import TableWriter
from streamd.sqlite.typed_rows import Extra, TypedRows
from streamd.sqlite.write_lock import BUSY_TIMEOUT_S

_RECEIVED_AT = "received_at"


class RetentionSettings(Settings):
    """How much data is kept, and how much space stays free."""

    max_age: DurationS | None = Field(
        None, gt=0, description="rows older than this are deleted; the age is counted from received_at"
    )
    age_column: str | None = Field(
        None,
        description="a timestamp column from which the age is counted instead; it gets an index",
    )
    max_size: SizeBytes | None = Field(
        None,
        ge=1 << 20,
        description="largest size of the database file, or of all files of a dated path; beyond it "
        "the oldest rows or files are deleted",
    )
    min_free: SizeBytes = Field(
        "64MiB",  # type: ignore[assignment]  # parsed by the validator
        description="writing stops while the file system has less free space than this",
    )


class Sqlite(Sink["Sqlite.Config"]):
    """Stores records in a table of a SQLite file, each commit in one transaction.

    With a `schema` or `columns` the table is STRICT and has a typed column for each field. Without them it
    stores each record as JSON. A path with `%Y-%m-%d` names a file for each day. The sink also counts
    `extra_dropped` (fields dropped because they have no column), `extra_as_json` (fields that `add_column`
    keeps as JSON because they cannot become columns), `expired` (rows deleted by retention) and `wal_pinned`
    (times a reader kept SQLite from restarting the write-ahead log).
    """

    opens_beside = True
    in_each_process = True

    counters: ClassVar[Mapping[str, str]] = {
        "extra_as_json": "fields kept in the column `extra` because they cannot become columns "
        '(`extra = "add_column"`)',
        "extra_dropped": 'fields dropped because they have no column (`extra = "drop"`)',
        "expired": "rows deleted by retention; they were stored, and `stored` stays",
        "wal_pinned": "times a reader kept SQLite from restarting the file's write-ahead log (event "
        "`wal_pinned`)",
    }

    class Config(SinkSettings):
        """Settings of a SQLite sink."""

        path: str = Field(
            "streamd.db",
            description="the database file, relative to daemon.state_dir; with %Y, %m, %d, %H in its "
            "name, a file for each period, by the time of receipt in UTC",
            min_length=1,
        )
        table: str = Field("records", description="the table; it is created if it does not exist")
        schema_name: str | None = Field(
            None,
            alias="schema",
            description="name of a schema: the table has a column for each of its fields",
        )
        columns: dict[str, Column] = Field(
            {}, description="columns by name, added to those of the schema or replacing them"
        )
        metadata: bool = Field(False, description="add the columns received_at, source and peer")
        extra: Extra = Field(
            "json",
            description="what happens to a field without a column: json (it is kept in the column "
            "extra), add_column (a column of type ANY is added; a field that cannot become "
            "a column, like ID if there is id, or source with metadata, is kept in the "
            "column extra), reject (the record) or drop (and count it)",
        )
        unique: list[str] = Field(
            [],
            description="columns that identify a row: a later record with the same values replaces the "
            "earlier one",
        )
        indexes: list[list[str]] = Field([], description="indexes, each a list of columns")
        synchronous: Literal["normal", "full"] = Field(
            "normal",
            description="normal (a committed record survives a crash of the daemon) or full (it also "
            "survives power loss)",
        )
        retention: RetentionSettings = Field(
            RetentionSettings(), description="how long and how much data is kept"
        )

        def share(self, number: int, count: int) -> Self:
            """The settings of one process: only the first one deletes old rows."""
            mine = super().share(number, count)
            if number == 0:
                return mine
            kept = self.retention.model_copy(update={"max_age": None, "age_column": None, "max_size": None})
            return mine.model_copy(update={"retention": kept})

        @property
        def outputs(self) -> tuple[SinkOutput, ...]:
            """One table of a database file, which other sinks may share."""
            return (SinkOutput("database", self.path, self.table),)

        @property
        def attempt_s(self) -> float:
            """The wait for a lock of another program."""
            return BUSY_TIMEOUT_S

    config: "Sqlite.Config"

    def __init__(self, config: Config, context: SinkContext) -> None:
        super().__init__(config, context)
        self.path = (context.state_dir / self.config.path).resolve()
        self.table = self.config.table
        if self.path == (context.state_dir / "dead-letters.db").resolve():
            raise ConfigError(f"{self.path} is the dead letters' database: name another path")
        fields = self._fields()
        self._rows: TypedRows | CatchAllRows
        if fields:
            self._rows = TypedRows(fields, metadata=self.config.metadata, extra=self.config.extra)
        else:
            self._rows = CatchAllRows()
        self._dated = DatedPath(self.path) if is_dated(self.path) else None
        retention = self.config.retention
        age = self._age(fields)
        by_index = [[age.column]] if age is not None and age.indexed else []
        self._table = Table(
            self.table,
            self._rows.columns if isinstance(self._rows, TypedRows) else CATCH_ALL_COLUMNS,
            unique=self.config.unique,
            indexes=[*self.config.indexes, *by_index],
            catch_all=not fields,
            names={name: field.names for name, field in fields.items() if field.names},
        )
        self._retention = Retention(
            self._table, context.name, context.counters, age=age, max_age_s=retention.max_age
        )
        self._deletes = retention.max_age is not None or retention.max_size is not None
        if self._deletes and self._dated is None:
            context.shared(Databases).reclaim(self.path)
        self._writer: TableWriter | DatedWriter | None = None
        self._stored = StoredParts()
        self._positions: PositionTable | None = None
        self._keeper: asyncio.Task[None] | None = None

    def _fields(self) -> dict[str, FieldSettings]:
        """The fields that have a column, in order. Raises `ConfigError`."""
        config = self.config
        fields = declared_fields(self.context.schemas, config.schema_name, config.columns)
        if not fields:
            refuse_options_of_columns(config, "unique", "extra", "metadata")
        for name in config.unique:
            if name in fields and not fields[name].required:
                fields[name] = fields[name].model_copy(update={"required": True})
        return fields

    def _age(self, fields: dict[str, FieldSettings]) -> Age | None:
        """The column that holds the age of a row. None without `max_age`, or if the file's name holds it."""
        retention, column = self.config.retention, self.config.retention.age_column
        if column is not None and (retention.max_age is None or self._dated is not None):
            raise ConfigError("'retention.age_column' needs 'retention.max_age' and a path without a date")
        if retention.max_age is None or self._dated is not None:
            return None
        if column is not None:
            if column not in fields or fields[column].type != "timestamp":
                raise ConfigError(f"'retention.age_column': {column!r} is no column of type timestamp")
            return Age(column, indexed=True)
        if fields and not self.config.metadata:
            raise ConfigError(
                "'retention.max_age' needs to know how old a row is: set metadata = true for the column"
                " received_at, or name a timestamp column in retention.age_column"
            )
        # With `unique`, a replaced row keeps its rowid but gets a new time, so rowids are not in time order.
        by_index = any(index[:1] == [_RECEIVED_AT] for index in self.config.indexes)
        return Age(_RECEIVED_AT, indexed=by_index or bool(self.config.unique))

    @property
    def wanted(self) -> Table:
        """The table that the configuration describes."""
        return self._table

    def accepts_typed(self, schema: Schema) -> bool:
        """True if each field of the schema has a column of its name and type."""
        return self._rows.accepts_typed(schema)

    async def open(self) -> None:
        """Open the file and create or extend the table. Raises `EnvironmentFault` or `ConfigError`."""
        max_bytes = self.config.retention.max_size
        if self._dated is None:
            writer = self._writer = await self._open_file(self.path)
            database = writer.database
            self._positions = PositionTable(database, self.table, f"{socket.gethostname()}:{os.getpid()}")
            if self._deletes:
                self._start_keeper(lambda: self._retention.step(database, max_bytes))
            return
        dated = DatedWriter(
            self._dated, self._open_file, self._close_file, self.table, self._retention, max_bytes
        )
        await dated.open()
        self._writer = dated
        if self._deletes:
            self._start_keeper(dated.expire)

    def rehearse(self) -> list[str]:
        """The SQL statements that `open` would run on an existing file. Raises what `open` would."""
        path = self.path if self._dated is None else self._dated.file_of(datetime.now(UTC))
        self.context.shared(Databases).rehearse(path)
        return rehearse_table(path, self._table)

    def _start_keeper(self, step: Callable[[], Awaitable[bool]]) -> None:
        self._keeper = asyncio.create_task(run_retention(step, self.context.name))

    async def _open_file(self, path: Path) -> TableWriter:
        databases = self.context.shared(Databases)
        if self._deletes:
            databases.reclaim(path)
        database = await databases.acquire(path, self.config.synchronous)
        writer = TableWriter(
            database,
            self._table,
            self._rows,
            self.context.name,
            self.context.dead_letters,
            self.context.counters,
        )
        try:
            await writer.open()
        except BaseException:
            await databases.release(database)
            raise
        return writer

    async def _close_file(self, writer: TableWriter) -> None:
        writer.close()
        await self.context.shared(Databases).release(writer.database)

    async def close(self) -> None:
        """End retention and release the database, which closes when its last user releases it."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait((keeper,))
        writer, self._writer = self._writer, None
        if isinstance(writer, DatedWriter):
            await writer.close()
        elif writer is not None:
            await self._close_file(writer)

    async def write(self, batches: Sequence[Batch]) -> Written:
        """Commit all batches. Rejected records are stored as dead letters first.

        Raises `SinkError`; the same batches can be written again then. For the cost see `TableWriter.write`.
        """
        if self._writer is None:
            raise RuntimeError(f"the sink {self.context.name!r} is not open")
        self._check_free()
        if self._positions is None or not isinstance(self._writer, TableWriter):
            return await self._writer.write(batches)
        while True:
            found = self._stored.sort_out(batches)
            if not found.batches:
                return found.written(Written.whole(0))
            try:
                written = await self._writer.write(found.batches, self._positions.moves(found.moves))
            except sqlite3.IntegrityError:
                fenced = await self._positions.fenced(found.moves)
                if not fenced:
                    raise
                for tenure in fenced:
                    tenure.end(FENCED)
            else:
                self._stored.stored(found)
                return found.written(written)

    @property
    def keeps_positions(self) -> bool:
        """Whether one file holds all records."""
        return self._dated is None

    async def claim(self, tenure: Tenure, pipeline: str) -> Claimed:
        """Claim an input in the table `streamd_positions` of the file. Raises `SinkError`."""
        try:
            found = await self._opened_positions.claim((tenure, pipeline))
        except sqlite3.Error as error:
            raise SinkError("positions", str(error)) from error
        self._stored.begin((tenure, pipeline), found.stored)
        return found

    async def keep_state(self, tenure: Tenure, pipeline: str, state: bytes) -> None:
        """Store the state in the table `streamd_states` of the file. Raises `SinkError`."""
        try:
            await self._opened_positions.keep_state((tenure, pipeline), state)
        except sqlite3.Error as error:
            raise SinkError("positions", str(error)) from error

    @property
    def _opened_positions(self) -> PositionTable:
        if self._positions is None:
            raise SinkError("positions", f"the sink {self.context.name} is not open")
        return self._positions

    @property
    def trouble(self) -> tuple[str, float] | None:
        """The reason and start (monotonic seconds) of trouble with database files removed or replaced."""
        return None if self._writer is None else self._writer.trouble

    def _check_free(self) -> None:
        least_bytes = self.config.retention.min_free
        if not least_bytes:
            return
        try:
            left_bytes = free_bytes(self.path.parent)
        except FileNotFoundError:  # the folder was removed; the writer notices that and makes the files anew
            return
        except OSError as error:
            raise SinkError("unreadable", f"cannot read {self.path.parent}: {error.strerror}") from error
        if left_bytes < least_bytes:
            raise SinkError(
                "min_free",
                f"{left_bytes >> 20} MiB are free on the file system of {self.path}, retention.min_free"
                f" keeps {least_bytes >> 20} MiB",
            )
