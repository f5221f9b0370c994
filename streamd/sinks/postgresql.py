"""Stores records in a table of a PostgreSQL server, as rows typed by a schema or as JSON."""

import asyncio
import getpass
import os
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import structlog
from pydantic import BeforeValidator, Field

from streamd.core.batch import Batch
from streamd.core.clock import read_clock
from streamd.core.contracts import Sink, SinkContext, Written
from streamd.core.credential import File
from streamd.core.errors import ConfigError, EnvironmentFault, SinkError
from streamd.core.schema import FieldSettings, FieldType, Schema
from streamd.core.settings import Address, DurationS, SinkOutput, SinkSettings
from streamd.core.tenure import Claimed, Tenure
from streamd.positions.stored_parts import FENCED, SortedOut, StoredParts
from streamd.postgresql.names import column_fault
from streamd.postgresql.partition_settings import PartitionSettings, ServerRetentionSettings, partitions_of
from streamd.postgresql.settings import ServerTlsSettings, parse_server
from streamd.postgresql.table import ServerTable
from streamd.sqlite.catch_all import CatchAllRows
from streamd.sqlite.columns import Column, declared_fields, refuse_options_of_columns
from streamd.sqlite.row_letters import RowLetters
from streamd.sqlite.typed_rows import Extra, TypedRows

if TYPE_CHECKING:
    from streamd.postgresql.copy_writer import Attempt
    from streamd.postgresql.partition_keeper import PartitionKeeper
    from streamd.postgresql.server import Server
    from streamd.postgresql.session import ServerSession
    from streamd.postgresql.store import Store

log = structlog.get_logger()

_METADATA: dict[str, FieldType] = {"received_at": "timestamp", "source": "str", "peer": "str"}
_RECORD = "record"


class Postgresql(Sink["Postgresql.Config"]):
    """Stores records in a table of a PostgreSQL server (13 or newer), each commit in one transaction.

    With a `schema` or `columns` the table has a typed column for each field. Without them it stores each
    record as `jsonb`. Rows are sent by binary COPY; with `unique` they go through a temporary table, and
    replace the rows that are equal in these columns. If the connection breaks during a COMMIT, the sink asks
    the server on the next connection whether it was carried out (`commits_settled`), so that no row is stored
    twice and none is lost. If the server cannot be reached, the sink retries without end; the daemon also
    starts then. It does not start if the server refuses the login or has another table of that name.
    """

    opens_beside = True
    in_each_process = True

    counters: ClassVar[Mapping[str, str]] = {
        "commits_settled": "commits during which the connection broke, and whose outcome the sink has asked"
        " for on the next one (event `commit_settled`)",
        "extra_as_json": "fields kept in the column `extra` because they cannot become columns "
        '(`extra = "add_column"`)',
        "extra_dropped": 'fields dropped because they have no column (`extra = "drop"`)',
        "expired": "rows deleted by retention; they were stored, and `stored` stays",
    }

    class Config(SinkSettings):
        """Settings of a PostgreSQL sink."""

        address: Annotated[Address | str, BeforeValidator(parse_server, json_schema_input_type=str)] = Field(
            "127.0.0.1:5432",
            description="address of the server: host:port, or the path of its unix socket, like "
            "/run/postgresql/.s.PGSQL.5432",
            validate_default=True,
        )
        database: str = Field(description="the database; it must exist", min_length=1)
        user: str | None = Field(
            None,
            min_length=1,
            description="the user of the database. Default: the name of the user that runs the daemon",
        )
        password: File | None = Field(
            None,
            description="file with the user's password, or { credential = … }; it is read again for each"
            " connection, and the connection needs none without it",
        )
        tls: ServerTlsSettings = Field(ServerTlsSettings(), description="TLS; off without ca")
        table: str = Field(
            "records",
            description="the table; it is created if it does not exist. A point separates the name of a"
            " schema of PostgreSQL, which must exist, from that of the table",
        )
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
            "extra), add_column (a column of type jsonb is added; a field that cannot become "
            "a column, like ID if there is id, or source with metadata, is kept in the "
            "column extra), reject (the record) or drop (and count it)",
        )
        unique: list[str] = Field([], description="columns that identify a row; see on_conflict")
        on_conflict: Literal["update", "ignore"] = Field(
            "update",
            description="with unique, what happens if a row with the same values exists: update (the later"
            " record replaces it) or ignore (the row stays). Both count the record as replaced",
        )
        indexes: list[list[str]] = Field([], description="indexes, each a list of columns")
        partition: PartitionSettings = Field(
            PartitionSettings(), description="partitions by ranges of time; none without width"
        )
        retention: ServerRetentionSettings = Field(
            ServerRetentionSettings(), description="how long rows are kept"
        )
        connect_timeout: DurationS = Field(
            "10s",  # type: ignore[assignment]  # parsed by the validator
            ge=2,
            description="longest time to make a connection and log in, for each address of the host",
        )
        timeout: DurationS = Field(
            "30s",  # type: ignore[assignment]  # parsed by the validator
            ge=1,
            description="longest time of one statement of a commit; then it is rolled back and tried again",
        )

        @property
        def outputs(self) -> tuple[SinkOutput, ...]:
            """The server's address."""
            kind: Literal["unix", "tcp"] = "unix" if isinstance(self.address, str) else "tcp"
            return (SinkOutput(kind, str(self.address), key="address"),)

    config: "Postgresql.Config"

    def __init__(self, config: Config, context: SinkContext) -> None:
        super().__init__(config, context)
        fields = self._fields()
        partitions = partitions_of(
            config.partition, config.retention, config.table, fields, config.unique, metadata=config.metadata
        )
        self._rows: TypedRows | CatchAllRows
        if fields:
            self._rows = TypedRows(
                fields, metadata=config.metadata, extra=config.extra, name_fault=column_fault
            )
        else:
            self._rows = CatchAllRows()
        self._table = ServerTable(
            config.table,
            self._types(fields),
            unique=config.unique,
            indexes=config.indexes,
            updates=bool(config.unique) and config.on_conflict == "update",
            partitions=partitions,
            names={name: field.names for name, field in fields.items() if field.names},
        )
        self._server = self._new_server()
        self._session: ServerSession | None = None
        self._store: Store | None = None
        self._writing: asyncio.Task[Any] | None = None
        self._stored = StoredParts()
        self._doubtful: SortedOut | None = None
        """The records of a commit whose outcome is not known yet."""
        self._turn = asyncio.Lock()
        self._keeper: PartitionKeeper | None = None
        self._letters = RowLetters(context.name, context.dead_letters)
        self._unreachable_since: float | None = None

    def _fields(self) -> dict[str, FieldSettings]:
        """The fields that have a column, in order. Raises `ConfigError`."""
        config = self.config
        fields = declared_fields(self.context.schemas, config.schema_name, config.columns)
        if not fields:
            refuse_options_of_columns(config, "unique", "extra", "metadata")
        if "on_conflict" in config.model_fields_set and not config.unique:
            raise ConfigError("'on_conflict' needs 'unique'", ("on_conflict",))
        keys = (*config.unique, config.partition.column)
        for name, settings in fields.items():
            changes: dict[str, Any] = {"required": True} if name in keys else {}
            if settings.type == "any":  # any value is stored as JSON
                changes["type"] = "json"
            fields[name] = settings.model_copy(update=changes)
        return fields

    def _types(self, fields: Mapping[str, FieldSettings]) -> dict[str, FieldType]:
        """The columns of the table with the types of their fields."""
        if isinstance(self._rows, CatchAllRows):
            return _METADATA | {_RECORD: "json"}
        return {
            column: fields[column].type if column in fields else _METADATA.get(column, "json")
            for column in self._rows.columns
        }

    def _new_server(self) -> "Server":
        """The server, with the driver loaded. Raises `ConfigError` if it is not installed."""
        try:
            from streamd.postgresql.server import Server  # noqa: PLC0415 - only this sink needs the driver
        except ImportError as error:
            raise ConfigError(
                f"the sink postgresql needs the package {error.name or 'psycopg'}: pip install"
                " 'streamd-daemon[postgresql]'",
                ("type",),
            ) from None
        config, base_dir = self.config, self.context.base_dir
        return Server(
            config.address,
            config.database,
            config.user or getpass.getuser(),
            config.password,
            config.tls,
            base_dir,
            config.connect_timeout,
            config.timeout,
            f"streamd {self.context.name}",
        )

    def accepts_typed(self, schema: Schema) -> bool:
        """True if each field of the schema has a column of its name and type."""
        return self._rows.accepts_typed(schema)

    async def open(self) -> None:
        """Connect and create or extend the table. Raises `EnvironmentFault` or `ConfigError`.

        A server that cannot be reached is no error: the writes retry until it can.
        """
        from streamd.postgresql.copy_writer import CopyWriter  # noqa: PLC0415
        from streamd.postgresql.faults import Unreachable  # noqa: PLC0415 - the driver was loaded before
        from streamd.postgresql.partition_keeper import PartitionKeeper  # noqa: PLC0415
        from streamd.postgresql.positions import ServerPositions  # noqa: PLC0415
        from streamd.postgresql.session import ServerSession  # noqa: PLC0415
        from streamd.postgresql.store import Store  # noqa: PLC0415

        await asyncio.to_thread(self._server.check_files)
        session = ServerSession(self._server)
        writer = CopyWriter(
            self._table, self._rows, updates=self.config.on_conflict == "update", step=session.step
        )
        positions = ServerPositions(self.config.table, f"{socket.gethostname()}:{os.getpid()}")
        store = Store(session, self._table, writer, self.context.name, self.context.counters, positions)
        try:
            await session.run(store.open)
        except Unreachable as error:
            self._unreachable_since = read_clock().mono_s
            log.warning("postgresql_unreachable", sink=self.context.name, error=str(error))
        except BaseException:
            await session.close()
            raise
        self._session, self._store = session, store
        if self._table.partitions is not None:
            self._keeper = PartitionKeeper(
                self._server, self._table, self._table.partitions, self.context, self.config.retention.max_age
            )
            self._keeper.start()

    def rehearse(self) -> list[str]:
        """The SQL statements that `open` would run. Raises what `open` would, and `EnvironmentFault` for a
        server that cannot be reached.
        """
        import psycopg  # noqa: PLC0415 - the driver was loaded before

        from streamd.postgresql.faults import Unreachable, in_words  # noqa: PLC0415

        self._server.check_files()
        try:
            with self._server.connect() as connection:
                return self._table.changes(connection)
        except Unreachable as error:
            raise EnvironmentFault(str(error)) from None
        except psycopg.Error as error:
            raise EnvironmentFault(f"PostgreSQL at {self.config.address}: {in_words(error)}") from None

    async def close(self) -> None:
        """End what is under way, and close the connections."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await keeper.close()
        writing = self._writing
        if writing is not None and not writing.done():
            writing.cancel()
        session, self._session = self._session, None
        store, self._store = self._store, None
        if session is not None:
            await session.close()
        if writing is not None and not writing.done():
            await asyncio.wait({writing})
        if store is not None and store.in_doubt is not None:
            log.error(
                "commit_outcome_unknown",
                sink=self.context.name,
                records=sum(map(len, store.in_doubt.batches)),
                hint="counted as dropped, but all of them or none are stored",
            )

    @property
    def trouble(self) -> tuple[str, float] | None:
        """`unreachable` and since when (monotonic seconds), if the server was not there at the start."""
        return None if self._unreachable_since is None else ("unreachable", self._unreachable_since)

    @property
    def progress(self) -> int:
        """The number of statements that the server has finished."""
        return 0 if self._session is None else self._session.progress

    async def write(self, batches: Sequence[Batch]) -> Written:
        """Commit all batches in one transaction. Rejected records are stored as dead letters first.

        Raises `SinkError`. A record of seven columns costs about 1.1 µs on the connection's thread and 0.04
        µs on the loop's.
        """
        from streamd.postgresql.positions import Fenced  # noqa: PLC0415 - the driver was loaded before

        _, store = self._opened
        self._writing = asyncio.current_task()
        try:
            while True:
                # A commit in doubt is settled with the records that it was for.
                found = self._doubtful or self._stored.sort_out(batches)
                if not found.batches:
                    return found.written(Written.whole(0))
                try:
                    async with self._turn:
                        attempt = await self._attempt(found)
                    break
                except Fenced as fenced:
                    self._doubtful = None
                    for tenure in fenced.tenures:
                        tenure.end(FENCED)
                except SinkError:
                    self._doubtful = found if store.in_doubt is not None else None
                    raise
        finally:
            self._writing = None
        self._doubtful = None
        self._stored.stored(found)
        self._unreachable_since = None
        self._letters.forget()
        if attempt.dropped_fields:
            self.context.counters.add("extra_dropped", attempt.dropped_fields)
        if attempt.fields_as_json:
            self.context.counters.add("extra_as_json", attempt.fields_as_json)
        return found.written(attempt.written)

    async def _attempt(self, found: SortedOut) -> "Attempt":
        """One transaction. Raises `SinkError` or `Fenced`."""
        session, store = self._opened
        attempt = await session.run(partial(store.begin, found.batches, found.moves))
        if not attempt.committed:
            try:
                await self._letters.keep(attempt.refused)
            except BaseException:
                await session.run(store.roll_back)
                raise
            await session.run(partial(store.commit, attempt))
        return attempt

    @property
    def _opened(self) -> "tuple[ServerSession, Store]":
        if self._session is None or self._store is None:
            raise RuntimeError(f"the sink {self.context.name!r} is not open")
        return self._session, self._store

    @property
    def keeps_positions(self) -> bool:
        """In the table `streamd_positions` beside its own."""
        return True

    async def claim(self, tenure: Tenure, pipeline: str) -> Claimed:
        """Claim an input in the table `streamd_positions`. Raises `SinkError`."""
        session, store = self._opened
        async with self._turn:
            claimed = await session.run(partial(store.claim, (tenure, pipeline)))
        self._stored.begin((tenure, pipeline), claimed.stored)
        return claimed

    async def keep_state(self, tenure: Tenure, pipeline: str, state: bytes) -> None:
        """Store the state in the table `streamd_states`. Raises `SinkError`."""
        session, store = self._opened
        async with self._turn:
            kept = await session.run(partial(store.keep_state, (tenure, pipeline), state))
        if not kept:
            tenure.end(FENCED)
