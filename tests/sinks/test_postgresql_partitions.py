"""The sink `postgresql` with partitions by time: how they are made, what has none, and how old ones go.

With it `postgresql/partitions.py`, `postgresql/partition_keeper.py` and `postgresql/partition_settings.py`.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.core.batch import Batch
from streamd.core.contracts import SinkContext
from streamd.core.errors import ConfigError, EnvironmentFault, SinkError
from streamd.core.now import Now
from streamd.postgresql.partitions import keep_others_out
from streamd.sinks.postgresql import Postgresql
from tests.postgresql_server import (
    PostgresqlServer,
    at_last,
    needs_postgresql,
    shared_server,
    wait_until,
    written_at_last,
)

pytestmark = needs_postgresql

GUIDE = (Path(__file__).parents[2] / "docs/how-to/postgresql.md").read_text()
BatchOf = Callable[..., Batch]
NOON = datetime(2020, 3, 10, 12, tzinfo=UTC)
BY_DAY: dict[str, Any] = {
    "columns": {"at": "timestamp", "n": "int"},
    "extra": "drop",
    "partition": {"width": "1d", "column": "at"},
}


@pytest.fixture
def server() -> PostgresqlServer:
    return shared_server()


@pytest.fixture
def table(server: PostgresqlServer) -> str:
    return server.new_name()


@pytest.fixture
async def new_sink(server: PostgresqlServer, bench: Any, tmp_path: Path) -> AsyncIterator[Any]:
    """Makes sinks whose clock stands at `now`."""
    opened: list[Postgresql] = []

    def make(now: datetime = NOON, **options: Any) -> Postgresql:
        login = {"address": server.socket, "database": "postgres", "user": "postgres"}
        given = {**login, **BY_DAY, **options}
        given = {name: value for name, value in given.items() if value is not None}
        config = Postgresql.Config.model_validate({"type": "postgresql", **given})
        context = SinkContext("store", bench.schemas, tmp_path, bench.office, bench.shared, base_dir=tmp_path)
        sink = Postgresql(config, context)
        set_clock(sink, now)
        opened.append(sink)
        return sink

    yield make
    for sink in opened:
        await sink.close()


@pytest.fixture
async def open_sink(new_sink: Any) -> Any:
    async def make(*given: Any, **options: Any) -> Postgresql:
        sink: Postgresql = new_sink(*given, **options)
        await sink.open()
        return sink

    return make


def set_clock(sink: Postgresql, now: datetime) -> None:
    if sink._table.partitions is not None:
        sink._table.partitions.clock = lambda: Now(now.timestamp(), 0.0)


async def keep(sink: Postgresql) -> None:
    """What the sink does from time to time."""
    keeper = sink._keeper
    assert keeper is not None
    await keeper._session.run(keeper.step)


def at(day: int, hour: int = 0, month: int = 3) -> str:
    return f"2020-{month:02}-{day:02}T{hour:02}:00:00.000000Z"


def partitions(server: PostgresqlServer, table: str) -> list[tuple[str, str]]:
    """Name and bounds of each partition, with `#` for the name of the table."""
    sql = (
        "SELECT c.relname::text, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i"
        " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass"
    )
    with server.connect(options="-c timezone=UTC -c datestyle=ISO") as connection:
        found = connection.execute(sql, (f'"{table}"',)).fetchall()
    return sorted((name.replace(table, "#"), _short(bounds)) for name, bounds in found)


def _short(bounds: str) -> str:
    start, end = re.findall(r"\(([^)]+)\)", bounds) if "FROM" in bounds else (bounds, "")
    return " ".join(one.strip("'").removesuffix("+00").removesuffix(" 00:00:00") for one in (start, end))


def numbers(server: PostgresqlServer, table: str) -> list[int]:
    return [n for (n,) in server.query(f'SELECT n FROM "{table}" ORDER BY n')]


async def test_a_table_gets_the_partitions_of_this_period_and_the_next(
    server: PostgresqlServer, new_sink: Any, table: str, batch_of: BatchOf
) -> None:
    sink = new_sink(table=table)
    wanted = await asyncio.to_thread(sink.rehearse)
    assert wanted == [
        (
            f'CREATE TABLE "{table}" ("at" timestamp with time zone NOT NULL, "n" bigint)'
            ' PARTITION BY RANGE ("at")'
        )
    ] + [
        statement
        for day in (10, 11)
        for statement in (
            (
                f'CREATE TABLE "{table}_p202003{day}" (LIKE "{table}" INCLUDING DEFAULTS'
                " INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING STORAGE)"
            ),
            (
                f'ALTER TABLE "{table}" ATTACH PARTITION "{table}_p202003{day}" FOR VALUES FROM'
                f" ('2020-03-{day} 00:00:00+00') TO ('2020-03-{day + 1} 00:00:00+00')"
            ),
        )
    ]
    await sink.open()
    assert await asyncio.to_thread(sink.rehearse) == []
    today = [("#_p20200310", "2020-03-10 2020-03-11"), ("#_p20200311", "2020-03-11 2020-03-12")]
    assert partitions(server, table) == today
    written = await sink.write([batch_of([{"at": at(10, n), "n": n} for n in range(24)])])
    assert written.rejected_counts == [0]
    assert server.query(f"SELECT count(*) FROM {table}_p20200310") == [(24,)]
    set_clock(sink, NOON.replace(day=11))
    await keep(sink)
    assert partitions(server, table) == [*today, ("#_p20200312", "2020-03-12 2020-03-13")]
    assert sink.context.counters["expired", ""] == 0


@pytest.mark.parametrize("unique", [[], ["at", "n"]])
async def test_a_record_outside_all_partitions_gets_one_or_is_a_dead_letter(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf, bench: Any, unique: Any
) -> None:
    sink = await open_sink(
        table=table,
        unique=unique,
        partition={"width": "1d", "column": "at", "behind": "5d", "ahead": "36h"},
    )
    times = [at(10), at(5), at(4, 23), at(12), at(11, 23), at(13, 1), "1970-01-01T00:00:00Z", None, at(7)]
    records = [{"at": time, "n": n} for n, time in enumerate(times)]
    batches = [batch_of(records), batch_of([{"at": at(8), "n": 9}])]
    written = await sink.write(batches)
    assert written.rejected == [[2, 5, 6, 7], []]
    assert numbers(server, table) == [0, 1, 3, 4, 8, 9]
    reasons = {letter.payload["n"]: letter.reason for letter in bench.office.letters}
    assert reasons == {2: "row:too_old", 5: "row:too_new", 6: "row:too_old", 7: "schema:required"}
    details = {letter.payload["n"]: letter.detail for letter in bench.office.letters}
    assert details[2] == "at: 2020-03-04T23:00:00Z is before 2020-03-05T00:00:00Z, the oldest partition"
    latest = "2020-03-12T00:00:00Z, the latest time accepted now"
    assert details[5] == f"at: 2020-03-13T01:00:00Z is after {latest}"
    assert [name for name, _ in partitions(server, table)] == [
        f"#_p202003{day:02}" for day in (5, 7, 8, 10, 11, 12)
    ]
    assert (await sink.write([batch_of([{"at": at(5), "n": 1}])])).replaced == [1 if unique else 0]


async def test_a_row_for_a_partition_that_is_there_is_stored_whatever_its_time(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf, bench: Any
) -> None:
    sink = await open_sink(table=table)
    for name, bounds in (("far", "('2090-01-01') TO (MAXVALUE)"), ("past", "(MINVALUE) TO ('1950-01-01')")):
        server.query(f"CREATE TABLE {table}_{name} PARTITION OF {table} FOR VALUES FROM {bounds}")
    times = ["2099-01-01T00:00:00Z", "1900-01-01T00:00:00Z", at(9), "2050-01-01T00:00:00Z"]
    written = await sink.write([batch_of([{"at": time, "n": n} for n, time in enumerate(times)])])
    assert written.rejected == [[3]]
    assert numbers(server, table) == [0, 1, 2]
    assert [letter.reason for letter in bench.office.letters] == ["row:too_new"]


async def test_without_columns_rows_are_divided_by_their_time_of_receipt(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    sink = await open_sink(table=table, columns={}, extra=None, partition={"width": "1h"})
    received_at = NOON.timestamp() + 1
    await sink.write(
        [batch_of([{"a": 1}], received_at=received_at), batch_of([{"a": 2}], received_at=received_at - 3600)]
    )
    names = [name for name, _ in partitions(server, table)]
    assert names == ["#_p20200310_110000", "#_p20200310_120000", "#_p20200310_130000"]
    assert server.query(f"SELECT record FROM {table}_p20200310_110000") == [({"a": 2},)]


async def test_partitions_that_are_too_old_are_dropped_whole_and_their_rows_counted(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    server.query(f"CREATE TABLE {table}_p_mine AS SELECT 1 AS n")
    sink = await open_sink(table=table, retention={"max_age": "3d"})
    days = range(7, 11)
    await sink.write([batch_of([{"at": at(day, n % 24), "n": day} for day in days for n in range(day)])])
    await keep(sink)
    assert len(partitions(server, table)) == 5
    set_clock(sink, datetime(2020, 3, 10, 23, 59, 59, tzinfo=UTC))
    await keep(sink)
    assert sink.context.counters["expired", ""] == 0
    set_clock(sink, datetime(2020, 3, 11, tzinfo=UTC))
    await keep(sink)
    assert sink.context.counters["expired", ""] == 7
    set_clock(sink, datetime(2020, 3, 12, 12, tzinfo=UTC))
    await keep(sink)
    assert sink.context.counters["expired", ""] == 7 + 8
    assert server.query(f"SELECT n, count(*) FROM {table} GROUP BY 1 ORDER BY 1") == [(9, 9), (10, 10)]
    names = server.query("SELECT relname::text FROM pg_class WHERE relname LIKE %s", f"{table}_p%")
    assert sorted(name for (name,) in names) == [
        f"{table}_p{rest}" for rest in ("20200309", "20200310", "20200311", "20200312", "20200313", "_mine")
    ]


async def test_a_clock_that_is_ahead_of_the_server_drops_nothing(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    now = datetime.now(UTC)
    sink = await open_sink(now, table=table, retention={"max_age": "3d"})
    await sink.write([batch_of([{"at": now.isoformat(), "n": 1}])])
    set_clock(sink, now.replace(year=now.year + 5, day=1))
    await keep(sink)
    assert numbers(server, table) == [1]
    assert sink.context.counters["expired", ""] == 0


async def test_a_query_that_still_reads_is_not_disturbed_and_no_commit_waits_for_it(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    sink = await open_sink(table=table, retention={"max_age": "3d"})
    await sink.write([batch_of([{"at": at(8), "n": n} for n in range(5)])])
    with server.connect() as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        count = f"SELECT count(*) FROM {table}"
        assert other.execute(count).fetchone() == (5,)
        set_clock(sink, NOON.replace(day=20))
        for _ in range(2):
            with pytest.raises(SinkError) as refused:
                await keep(sink)
            assert refused.value.reason == "locked"
        assert other.execute(count).fetchone() == (5,)
        await sink.write([batch_of([{"at": at(20), "n": 20}])])
        assert numbers(server, table) == [20]  # the partition waits only for the query that has begun before
        assert sink.context.counters["expired", ""] == 0
        other.execute("COMMIT")
    await keep(sink)
    assert sink.context.counters["expired", ""] == 5
    assert numbers(server, table) == [20]


async def test_a_partition_that_was_detached_before_a_crash_is_dropped_later(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    sink = await open_sink(table=table, retention={"max_age": "3d"})
    await sink.write([batch_of([{"at": at(10), "n": n} for n in range(5)])])
    mark = f'streamd: an expired partition of "{table}"'
    server.query(f"COMMENT ON TABLE {table}_p20200310 IS '{mark}'")
    await keep(sink)
    assert numbers(server, table) == [0, 1, 2, 3, 4]  # it is a part of the table still
    server.query(f"ALTER TABLE {table} DETACH PARTITION {table}_p20200310")
    await keep(sink)
    assert sink.context.counters["expired", ""] == 5
    assert server.query("SELECT to_regclass(%s)", f"{table}_p20200310") == [(None,)]
    assert (await sink.write([batch_of([{"at": at(10), "n": 9}])])).rejected_counts == [0]
    assert numbers(server, table) == [9]


async def test_a_changed_width_makes_what_is_free_between_the_old_partitions(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    await open_sink(table=table)
    sink = await open_sink(table=table, partition={"width": "7d", "column": "at"})
    assert partitions(server, table)[2:] == [("#_p20200316", "2020-03-16 2020-03-23")]
    await sink.write([batch_of([{"at": at(9), "n": 9}, {"at": at(13), "n": 13}, {"at": at(11), "n": 11}])])
    assert partitions(server, table) == [
        ("#_p20200309", "2020-03-09 2020-03-10"),
        ("#_p20200310", "2020-03-10 2020-03-11"),
        ("#_p20200311", "2020-03-11 2020-03-12"),
        ("#_p20200312", "2020-03-12 2020-03-16"),
        ("#_p20200316", "2020-03-16 2020-03-23"),
    ]
    assert numbers(server, table) == [9, 11, 13]


async def test_names_that_are_taken_or_too_long_keep_no_partition_from_being_made(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    server.query(f"CREATE TABLE {table}_p20200310 (x int); CREATE VIEW {table}_p20200310_2 AS SELECT 1 AS x")
    await open_sink(table=table)
    assert [name for name, _ in partitions(server, table)] == ["#_p20200310_3", "#_p20200311"]
    long = f"{table}_" + "数" * ((63 - len(table) - 1) // 3)
    sink = await open_sink(table=long, partition={"width": "30m", "column": "at"})
    names = [name for name, _ in partitions(server, long)]
    assert [name.rpartition("数")[2] for name in names] == ["_p20200310_120000", "_p20200310_123000"]
    await sink.write([batch_of([{"at": at(10, 12), "n": 1}])])
    assert numbers(server, long) == [1]


async def test_many_new_periods_in_one_commit_are_all_made(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    sink = await open_sink(table=table, partition={"width": "1h", "column": "at"})
    records = [{"at": at(10 - n // 24, 23 - n % 24), "n": n} for n in range(12, 120)]
    assert (await sink.write([batch_of(records)])).rejected_counts == [0]
    assert numbers(server, table) == list(range(12, 120))
    assert len(partitions(server, table)) == 108 + 2


async def test_two_sinks_prepare_one_table_at_the_same_time(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    more = {"unique": ["at", "n"], "indexes": [["n"]]}
    options = {"table": table, "retention": {"max_age": "3d"}, **more}
    sinks = await asyncio.gather(*(open_sink(**options) for _ in range(4)))
    batches = [
        batch_of([{"at": at(day, hour), "n": n} for day in (8, 9) for hour in range(24)]) for n in range(4)
    ]
    await asyncio.gather(
        *(written_at_last(sink, [batch]) for sink, batch in zip(sinks, batches, strict=True))
    )
    assert server.query(f"SELECT n, count(*) FROM {table} GROUP BY 1 ORDER BY 1") == [
        (n, 48) for n in range(4)
    ]
    for sink in sinks:
        set_clock(sink, NOON.replace(day=15))
    for _ in range(2):
        await asyncio.gather(*(at_last(partial(keep, sink)) for sink in sinks))
    assert sum(sink.context.counters["expired", ""] for sink in sinks) == 4 * 48


async def test_a_sink_waits_for_another_that_makes_the_same_partition(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    sink = await open_sink(table=table)
    bounds = "FROM ('2020-03-09 00:00:00+00') TO ('2020-03-10 00:00:00+00')"
    with server.connect() as other:
        other.execute("BEGIN")
        keep_others_out(other, f'"{table}"')
        other.execute(f"CREATE TABLE {table}_p20200309 (LIKE {table})")
        other.execute(f"ALTER TABLE {table} ATTACH PARTITION {table}_p20200309 FOR VALUES {bounds}")
        writing = asyncio.ensure_future(sink.write([batch_of([{"at": at(9), "n": 1}])]))
        waiting = (
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE locktype = 'advisory' AND NOT granted AND application_name = 'streamd store'"
        )
        await asyncio.to_thread(wait_until, lambda: server.query(waiting) == [(1,)])
        other.execute("COMMIT")
    assert (await writing).rejected_counts == [0]
    assert numbers(server, table) == [1]
    assert [name for name, _ in partitions(server, table)] == [
        f"#_p202003{day}" for day in ("09", "10", "11")
    ]


async def test_a_table_that_its_owner_has_partitioned_by_a_time_without_zone(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    server.query("ALTER ROLE postgres SET timezone = 'Asia/Tokyo'")
    server.query("ALTER ROLE postgres SET datestyle = 'German'")
    try:
        server.query(f"CREATE TABLE {table} (n bigint, at timestamp) PARTITION BY RANGE (at)")
        sink = await open_sink(table=table, retention={"max_age": "3d"})
        await sink.write([batch_of([{"at": at(8), "n": 1}, {"at": at(9, 23), "n": 2}])])
        set_clock(sink, datetime(2020, 3, 12, tzinfo=UTC))
        await keep(sink)
    finally:
        server.query("ALTER ROLE postgres RESET ALL")
    bounds = [bounds for _, bounds in partitions(server, table)]
    assert bounds == ["2020-03-09 2020-03-10", *(f"2020-03-{n} 2020-03-{n + 1}" for n in range(10, 14))]
    assert numbers(server, table) == [2]
    assert sink.context.counters["expired", ""] == 1


@pytest.mark.parametrize(
    ("ddl", "words"),
    [
        (
            "(at timestamptz, n bigint)",
            (
                "is not partitioned, and no table can become so: name another table, or move it away:"
                ' ALTER TABLE "{t}" RENAME TO "{t}_old";'
            ),
        ),
        (
            "(at timestamptz, n bigint) PARTITION BY LIST (n)",
            "is partitioned by LIST (n), the configuration says RANGE (at): name another table",
        ),
        ("(at timestamptz, n bigint) PARTITION BY RANGE (at, n)", "is partitioned by RANGE (at, n), the"),
        (
            "(at timestamptz, n bigint) PARTITION BY RANGE (at); CREATE TABLE {t}_d PARTITION OF {t} DEFAULT",
            (
                "has the default partition {t}_d, which would take the rows of new ones: ALTER TABLE"
                ' "{t}" DETACH PARTITION {t}_d;'
            ),
        ),
    ],
)
async def test_a_table_that_is_divided_otherwise_is_refused(
    server: PostgresqlServer, new_sink: Any, table: str, ddl: str, words: str
) -> None:
    server.query(f"CREATE TABLE {table} {ddl.format(t=table)}")
    sink = new_sink(table=table)
    with pytest.raises(ConfigError) as rehearsed:
        await asyncio.to_thread(sink.rehearse)
    with pytest.raises(ConfigError) as opened:
        await sink.open()
    assert str(opened.value) == str(rehearsed.value)
    assert words.format(t=table) in str(opened.value)


async def test_a_server_that_is_too_old_is_refused(
    new_sink: Any, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamd.postgresql.partitions.LEAST_VERSION", 990_000)
    with pytest.raises(EnvironmentFault, match=r"partition\.width needs PostgreSQL 99 or newer"):
        await new_sink(table=table).open()


async def test_the_guide_makes_a_table_with_rows_a_partition(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    server.query(f"CREATE TABLE {table} (at timestamptz, n bigint, UNIQUE (at, n))")
    server.query(
        f"INSERT INTO {table} SELECT '2020-03-01'::timestamptz + n * '1h'::interval, n FROM"
        " generate_series(1, 100) AS n"
    )
    statements = GUIDE.partition("### Divide")[2].partition("```sql\n")[2].partition("```")[0]
    for statement in statements.strip().splitlines():
        server.query(statement.replace("readings", table).replace("2026-12-01", "2020-03-11"))
    sink = await open_sink(table=table, unique=["at", "n"], retention={"max_age": "20d"})
    assert [name for name, _ in partitions(server, table)] == ["#_old", "#_p20200311"]
    assert (await sink.write([batch_of([{"at": at(1, 1), "n": 1}, {"at": at(11), "n": 0}])])).replaced == [1]
    assert numbers(server, table) == list(range(101))
    set_clock(sink, datetime(2020, 3, 31, tzinfo=UTC))
    await keep(sink)
    assert (numbers(server, table), sink.context.counters["expired", ""]) == ([0], 100)


async def test_a_user_who_does_not_own_the_table_is_told_what_its_owner_must_do(
    server: PostgresqlServer, new_sink: Any, table: str
) -> None:
    server.query(f"CREATE TABLE {table} (at timestamptz, n bigint) PARTITION BY RANGE (at)")
    server.query(f"CREATE ROLE u_{table} LOGIN; GRANT INSERT ON {table} TO u_{table}")
    with pytest.raises(EnvironmentFault, match="let its owner run CREATE TABLE"):
        await new_sink(table=table, user=f"u_{table}").open()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unique": ["n"]}, "'unique' must contain the column 'at'.*: unique = \\['at', 'n'\\]"),
        ({"partition": {"width": "1d"}}, "'partition' needs the time of a row"),
        ({"partition": {"width": "1d", "column": "x"}}, "'partition' needs the time of a row"),
        ({"partition": {"width": "1d", "column": "n"}}, "'n' is no column of type timestamp"),
        ({"partition": {}, "retention": {"max_age": "1d"}}, "'retention.max_age' needs partitions"),
        ({"retention": {"max_age": "1300d"}}, "up to 1303 partitions of 86400 s, 1200 are allowed"),
        (
            {"partition": {"width": "1d", "column": "at", "behind": "4d"}, "retention": {"max_age": "3d"}},
            "'partition.behind' is more than 'retention.max_age'",
        ),
    ],
)
def test_settings_that_contradict_are_refused(new_sink: Any, options: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        new_sink(**options)
    assert refused.value.keys


@pytest.mark.parametrize(
    ("partition", "words"),
    [
        ({"column": "at"}, "column does nothing without width"),
        ({"behind": "1d"}, "behind does nothing without width"),
        ({"width": "59s"}, "greater than or equal to 60"),
    ],
)
def test_options_that_cannot_be_are_refused(partition: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Postgresql.Config.model_validate({"type": "postgresql", "database": "lab", "partition": partition})
