"""Makes the coming partitions of a table, and drops those that are too old."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog

from streamd.core.contracts import SinkContext
from streamd.core.errors import ConfigError, SinkError
from streamd.postgresql.faults import ServerFault, Unreachable, sink_error
from streamd.postgresql.partitions import TablePartitions
from streamd.postgresql.periods import earlier
from streamd.postgresql.server import Server
from streamd.postgresql.session import ServerSession
from streamd.postgresql.table import ServerTable
from streamd.sqlite.retention import run_retention

Connection = psycopg.Connection[Any]

log = structlog.get_logger()

_LEAST_LOOK_S, _MOST_LOOK_S = 5.0, 60.0
_LOOKS_A_PERIOD = 4
_ALONE = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
_MARKED = """
SELECT format('%%I.%%I', n.nspname, c.relname)
FROM pg_description d JOIN pg_class c ON c.oid = d.objoid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE d.classoid = 'pg_class'::regclass AND d.objsubid = 0 AND d.description = %s
  AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY 1"""


class PartitionKeeper:
    """Keeps the partitions of one table, on a connection of its own, so that no commit waits for it.

    A partition is detached first, which waits for no query and lets none wait, and has a comment by then that
    marks it. Its rows are counted when no one can add to them, in the transaction that drops it. If that
    fails, the mark says at the next step what is still to be dropped.
    """

    def __init__(
        self,
        server: Server,
        table: ServerTable,
        partitions: TablePartitions,
        context: SinkContext,
        max_age_s: float | None,
    ) -> None:
        self._session = ServerSession(replace(server, name=f"{server.name} partitions"))
        self._table = table
        self._partitions = partitions
        self._sink = context.name
        self._counters = context.counters
        self._max_age_s = max_age_s
        self._keeping: asyncio.Task[None] | None = None
        self._mark = f"streamd: an expired partition of {table.sql_name}"

    @property
    def look_every_s(self) -> float:
        """The time between two steps."""
        return min(_MOST_LOOK_S, max(_LEAST_LOOK_S, self._partitions.periods.width_s / _LOOKS_A_PERIOD))

    def start(self) -> None:
        """Do what is due now and from then on, until `close`."""
        self._keeping = asyncio.create_task(run_retention(self._keep, self._sink))

    async def _keep(self) -> bool:
        await self._session.run(self.step)
        await asyncio.sleep(self.look_every_s)
        return False

    async def close(self) -> None:
        """End the step under way, and close the connection."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
        await self._session.close()
        if keeping is not None:
            await asyncio.wait((keeping,))

    def step(self) -> None:
        """Make and drop what is due, and close the connection. It blocks. Raises `SinkError`."""
        self._session.patient = True  # the rows of a large partition are counted for long
        try:
            connection, _ = self._session.connection()
            found = self._table.find(connection)
            if found is None or found.partition_column != self._partitions.column:
                return  # the sink refuses it, or makes it anew
            self._partitions.make(connection, found.oid, self._partitions.coming, self._session.step)
            if self._max_age_s is not None:
                self._drop_old(connection, found.oid, self._max_age_s)
        except (Unreachable, ServerFault) as error:
            raise SinkError("unreachable", str(error)) from None
        except ConfigError as error:
            raise SinkError("schema", str(error)) from None
        except psycopg.Error as error:
            raise sink_error(error) from None
        finally:
            self._session.drop()
            self._session.patient = False

    def _drop_old(self, connection: Connection, oid: int, max_age_s: float) -> None:
        row = connection.execute(_ALONE, (self._mark,)).fetchone()
        if row is None or not row[0]:
            return  # another sink does it now
        cutoff = earlier(min(self._partitions.now, _now(connection)), max_age_s)
        for one in self._partitions.there(connection, oid):
            detach = f"ALTER TABLE {self._table.sql_name} DETACH PARTITION {one.sql_name}"
            if one.is_leaving:
                connection.execute(f"{detach} FINALIZE")
            elif one.period.start < one.period.end <= cutoff:
                connection.execute(f"COMMENT ON TABLE {one.sql_name} IS {_text(self._mark)}")
                connection.execute(f"{detach} CONCURRENTLY")
        for (name,) in connection.execute(_MARKED, (self._mark,)).fetchall():
            self._drop(connection, name)

    def _drop(self, connection: Connection, name: str) -> None:
        with connection.transaction():
            connection.execute("SET LOCAL statement_timeout = 0")
            connection.execute(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
            row = connection.execute(f"SELECT count(*) FROM {name}").fetchone()  # noqa: S608 - it is quoted
            connection.execute(f"DROP TABLE {name}")
        rows = 0 if row is None else int(row[0])
        self._counters.add("expired", rows)
        log.info(
            "table_partition_expired", sink=self._sink, table=self._table.name, partition=name, rows=rows
        )


def _now(connection: Connection) -> datetime:
    """The present by the clock of the server. A clock that is set forward here alone drops nothing."""
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    return datetime.fromtimestamp(row[0] if row is not None else 0, UTC)


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
