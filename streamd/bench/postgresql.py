"""The rate of the sink `postgresql`, compared with a bare binary COPY of the same rows."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import uvloop

from streamd.bench.plan import Plan
from streamd.bench.postgresql_server import TemporaryPostgresql, postgresql_in
from streamd.bench.row import BenchError, Row, SkippedError
from streamd.bench.steps import no_collection
from streamd.core.batch import Batch
from streamd.core.contracts import SinkContext
from streamd.core.dead_letter import LetterList
from streamd.core.errors import ConfigError
from streamd.core.plural import counted
from streamd.core.schema import FieldSettings, Schema
from streamd.core.shared import Shared
from streamd.sensors import SensorStream
from streamd.sinks.postgresql import Postgresql

GOAL_RATIO = 0.9
BATCH_RECORDS = 4000
BATCHES = 50
FIELDS = {
    "ts": "timestamp", "sensor": "str", "seq": "int", "value": "float", "unit": "str", "ok": "bool",
    "site": "str",
}  # fmt: skip
_TYPES = ["timestamptz", "text", "int8", "float8", "text", "bool", "text"]
SERVER = ("shared_buffers = 128MB", "max_wal_size = 4GB", "autovacuum = off")
"""Settings of the server."""

Values = list[list[Any]]
"""The rows of each batch, flat: the values of one row after those of the other."""


def measure(plan: Plan) -> list[Row]:
    """Two rows: without keys, and with rows that replace others. Raises `SkippedError` and `BenchError`."""
    try:
        import psycopg  # noqa: F401, PLC0415 - only to know whether it is there
    except ImportError:
        raise SkippedError("psycopg is not installed: pip install 'streamd-daemon[postgresql]'") from None
    with postgresql_in(plan.parent, *SERVER) as server, no_collection():
        plain = _compare(plan, server, unique=False)
        keyed = _compare(plan, server, unique=True)
    plain.goal = f"ratio ≥ {GOAL_RATIO}"
    if plan.judge:
        plain.reached = (plain.ratio or 0) >= GOAL_RATIO
    return [plain, keyed]


def _compare(plan: Plan, server: TemporaryPostgresql, *, unique: bool) -> Row:
    name = "postgresql_unique" if unique else "postgresql"
    values = _values()
    count = BATCHES * BATCH_RECORDS
    best_sink_s = best_copy_s = best_server_s = float("inf")
    loop_s = row_bytes = 0.0
    for turn in range(1 + plan.step_turns):
        plan.step(f"{name}: turn {turn + 1} of {1 + plan.step_turns}")
        wall_s, on_loop_s, server_s = uvloop.run(
            _through_the_sink(server, values, f"sink_{turn}", unique=unique)
        )
        row_bytes = _table_bytes(server, f"sink_{turn}") / count
        copy_s = _bare_copy(server, values, f"sink_{turn}", f"copy_{turn}")
        if turn:  # the first one fills the caches
            best_sink_s, best_copy_s = min(best_sink_s, wall_s), min(best_copy_s, copy_s)
            best_server_s = min(best_server_s, server_s)
            loop_s = on_loop_s
    return Row(
        name=name,
        what=f"Sink postgresql, {BATCH_RECORDS:,} typed rows a commit{', unique' if unique else ''}",
        value=count / best_sink_s,
        unit="records/s",
        note=f"best of {counted(plan.step_turns, 'turn')} of {count:,} rows of seven columns;"
        f" {loop_s / count * 1e6:.2f} CPU s/M on the loop's thread, {best_server_s / count * 1e6:.2f} in the"
        f" server; {row_bytes:.0f} bytes a row",
        baseline=count / best_copy_s,
        baseline_what="psycopg's binary COPY of the same values into an equal table with its index, one"
        " transaction for each batch",
        details={"server_cpu_s_per_million": best_server_s / count * 1e6, "row_bytes": row_bytes},
    )


def _table_bytes(server: TemporaryPostgresql, table: str) -> int:
    """The size of the table with its indexes."""
    import psycopg  # noqa: PLC0415 - it is there

    login: dict[str, Any] = {"host": str(server.folder), "port": server.port, "user": "postgres"}
    with psycopg.connect(**login, dbname="postgres") as connection:
        found = connection.execute(f"SELECT pg_total_relation_size('{table}')").fetchone()
    return int(found[0]) if found else 0


def _values() -> Values:
    stream = SensorStream()
    decode = msgspec.json.Decoder().decode
    return [
        [value for line in stream.lines(BATCH_RECORDS) for value in decode(line).values()]
        for _ in range(BATCHES)
    ]


async def _through_the_sink(
    server: TemporaryPostgresql, values: Values, table: str, *, unique: bool
) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds of the loop's thread, and CPU seconds of the server."""
    schema = Schema(
        "reading", {name: FieldSettings.model_validate({"type": kind}) for name, kind in FIELDS.items()}
    )
    options: dict[str, Any] = {
        "type": "postgresql", "address": server.socket, "database": "postgres", "user": "postgres",
        "table": table, "schema": "reading", "extra": "drop", "unique": ["seq"] if unique else [],
    }  # fmt: skip
    context = SinkContext("bench", {"reading": schema}, server.folder, LetterList(), Shared())
    try:
        sink = Postgresql(Postgresql.Config.model_validate(options), context)
    except ConfigError as error:
        raise SkippedError(str(error)) from None
    if not sink.accepts_typed(schema):
        raise BenchError("the sink does not take the typed records of its own schema")
    batches = [Batch.of(rows, "tcp", "bench", "192.0.2.1:5000", 1e9, fields=schema.names) for rows in values]
    await sink.open()
    try:
        server_s = server.cpu_s
        began_s, began_cpu_s = time.perf_counter(), time.thread_time()
        for batch in batches:
            await sink.write([batch])
        return (
            time.perf_counter() - began_s,
            time.thread_time() - began_cpu_s,
            server.cpu_s - server_s,
        )
    finally:
        await sink.close()


def _bare_copy(server: TemporaryPostgresql, values: Values, source: str, table: str) -> float:
    """Wall seconds. Raises `BenchError` unless both tables have the same rows."""
    import psycopg  # noqa: PLC0415 - it is there

    login: dict[str, Any] = {"host": str(server.folder), "port": server.port, "user": "postgres"}
    width = len(FIELDS)
    rows = [list(zip(*[iter(part)] * width, strict=True)) for part in values]
    with psycopg.connect(**login, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {table} (LIKE {source} INCLUDING ALL)")
        began_s = time.perf_counter()
        for part in rows:
            with connection.transaction(), connection.cursor() as cursor:
                _copy(cursor.copy, f"COPY {table} FROM STDIN (FORMAT binary)", part)
        took_s = time.perf_counter() - began_s
        differing = connection.execute(
            f"SELECT (SELECT count(*) FROM {source}), (SELECT count(*) FROM {table}),"  # noqa: S608 - own names
            f" (SELECT count(*) FROM (TABLE {source} EXCEPT TABLE {table}) AS others)"
        ).fetchone()
        if differing != (len(values) * BATCH_RECORDS, len(values) * BATCH_RECORDS, 0):
            raise BenchError(f"rows of the sink, rows of COPY, differing rows: {differing}")
        connection.execute(f"DROP TABLE {source}, {table}")
    return took_s


def _copy(start: Callable[[str], Any], sql: str, rows: Sequence[Sequence[Any]]) -> None:
    read = datetime.fromisoformat
    with start(sql) as copy:
        copy.set_types(_TYPES)
        write = copy.write_row
        for row in rows:
            write((read(row[0]), *row[1:]))
