"""The sink `postgresql` against a real server: tables, types, rows that cannot be stored, and refusals.

With it `postgresql/table.py`, `postgresql/column_types.py`, `postgresql/copy_writer.py`,
`postgresql/staging.py`, `postgresql/names.py`, `postgresql/settings.py` and `postgresql/server.py`.
"""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.core.batch import Batch
from streamd.core.contracts import SinkContext
from streamd.core.errors import ConfigError, EnvironmentFault, SinkError
from streamd.sinks.postgresql import Postgresql
from tests.postgresql_server import PostgresqlServer, needs_postgresql, shared_server, written_at_last

pytestmark = needs_postgresql

BatchOf = Callable[..., Batch]
OPTIONS: list[dict[str, Any]] = [
    {"address": "127.0.0.1:9", "database": "lab", "password": "pg.password"},
    {"database": "lab", "columns": {"n": "int"}, "extra": "reject"},
    {"database": "lab", "columns": {"n": "int"}, "unique": ["n"], "metadata": True},
    {"database": "lab", "partition": {"width": "100d", "behind": "36500d"}},
]


def _open_password(state_dir: Path) -> None:
    password = state_dir.parent / "pg.password"  # beside the configuration
    password.write_text("long enough")
    password.chmod(0o604)


REFUSALS: dict[str, Any] = {
    "pg.password cannot be read": lambda _: None,
    "pg.password is open to all users": _open_password,
}


@asynccontextmanager
async def peer(folder: Path) -> AsyncIterator[dict[str, Any]]:
    del folder
    server = await asyncio.to_thread(shared_server)
    login = {"database": "postgres", "user": "postgres", "password": None}
    yield {"address": server.address, "table": server.new_name(), **login}


@pytest.fixture
def server() -> PostgresqlServer:
    return shared_server()


@pytest.fixture
async def new_sink(server: PostgresqlServer, bench: Any, tmp_path: Path) -> AsyncIterator[Any]:
    opened: list[Postgresql] = []

    def make(**options: Any) -> Postgresql:
        login = {"address": server.socket, "database": "postgres", "user": "postgres"}
        config = Postgresql.Config.model_validate({"type": "postgresql", **login, **options})
        context = SinkContext("store", bench.schemas, tmp_path, bench.office, bench.shared, base_dir=tmp_path)
        opened.append(Postgresql(config, context))
        return opened[-1]

    yield make
    for sink in opened:
        await sink.close()


@pytest.fixture
async def open_sink(new_sink: Any) -> Callable[..., Awaitable[Postgresql]]:
    async def make(**options: Any) -> Postgresql:
        sink: Postgresql = new_sink(**options)
        await sink.open()
        return sink

    return make


@pytest.fixture
def table(server: PostgresqlServer) -> str:
    return server.new_name()


ALL_TYPES = {
    "t": "str", "i": "int", "f": "float", "b": "bool",
    "at": "timestamp", "j": "json", "raw": "bytes", "x": "any",
}  # fmt: skip
ONE_OF_EACH = {
    "t": "数据'\"\\\t\n",
    "i": -(2**63),
    "f": 1,
    "b": True,
    "at": "2026-01-31T09:00:00.000001+01:00",
    "j": {"a": [1, None]},
    "raw": b"\xff\x00",
    "x": "text",
}


async def test_without_schema_records_are_jsonb(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    sink = await open_sink(table=table)
    batch = batch_of([{"a": 1, "@flag": "truncated"}, {"数": "据", "raw": b"\xff"}], received_at=1.5)
    written = await sink.write([batch])
    assert (written.rejected_counts, written.replaced) == ([0], [0])
    assert server.psql(f"SET timezone = 'UTC'; SELECT * FROM {table}").splitlines()[1:] == [
        '1970-01-01 00:00:01.5+00|lab|127.0.0.1:5|{"a": 1, "@flag": "truncated"}',
        '1970-01-01 00:00:01.5+00|lab|127.0.0.1:5|{"raw": "/w==", "数": "据"}',
    ]


async def test_every_type_of_field_has_its_column(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf, bench: Any
) -> None:
    bench.schema(**ALL_TYPES)
    sink = await open_sink(schema="reading", table=table)
    assert (await sink.write([batch_of([ONE_OF_EACH, ONE_OF_EACH | {"i": 7, "more": [1]}])])).rejected == [[]]
    types = server.query(
        "SELECT column_name::text, data_type::text FROM information_schema.columns WHERE table_name = %s"
        " ORDER BY ordinal_position",
        table,
    )
    assert types == [
        ("t", "text"),
        ("i", "bigint"),
        ("f", "double precision"),
        ("b", "boolean"),
        ("at", "timestamp with time zone"),
        ("j", "jsonb"),
        ("raw", "bytea"),
        ("x", "jsonb"),
        ("extra", "jsonb"),
    ]
    rows = server.query(
        f"SELECT t, i, f, b, (at AT TIME ZONE 'UTC')::text, j, raw, x, extra FROM {table} ORDER BY i"
    )
    text, at = ONE_OF_EACH["t"], "2026-01-31 08:00:00.000001"
    assert rows == [
        (text, -(2**63), 1.0, True, at, {"a": [1, None]}, b"\xff\x00", "text", None),
        (text, 7, 1.0, True, at, {"a": [1, None]}, b"\xff\x00", "text", {"more": [1]}),
    ]


@pytest.mark.parametrize("metadata", [False, True])
async def test_structs_and_dicts_give_the_same_rows(
    server: PostgresqlServer, open_sink: Any, bench: Any, batch_of: BatchOf, metadata: bool
) -> None:
    fields = {name: kind for name, kind in ALL_TYPES.items() if kind != "any"} | {
        "maybe": {"type": "float", "required": False}
    }
    schema = bench.schema(**fields)
    record = {name: value for name, value in ONE_OF_EACH.items() if name in fields} | {
        "at": "2026-01-31T08:00:00.000001Z", "f": 1.0, "maybe": None,
    }  # fmt: skip
    records = [record | {"i": n, "maybe": n / 2 if n % 2 else None} for n in range(5)]
    found = []
    for batch in (batch_of(records), batch_of([schema.struct(**one) for one in records], schema=schema)):
        name = server.new_name()
        sink = await open_sink(schema="reading", table=name, metadata=metadata)
        assert sink.accepts_typed(schema)
        assert (await sink.write([batch])).rejected_counts == [0]
        found.append(server.query(f"SELECT to_jsonb({name}) - 'extra' FROM {name} ORDER BY i"))
    assert found[0] == found[1]
    assert len(found[0]) == 5
    assert ("received_at" in found[0][0][0]) is metadata


async def test_narrow_columns_of_an_existing_table_take_what_fits(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf, bench: Any
) -> None:
    server.query(
        f"CREATE TABLE {table} (id serial PRIMARY KEY, a smallint, b integer, c real, d varchar(3),"
        " e timestamp, f json, g text)"
    )
    columns = {"a": "int", "b": "int", "c": "float", "d": "str", "e": "timestamp", "f": "json", "g": "json"}
    sink = await open_sink(table=table, columns=columns, extra="drop")
    good = {"a": 1, "b": 2, "c": 1.5, "d": "abc", "e": "2026-01-31T08:00:00Z", "f": [1], "g": {"h": None}}
    bad: list[dict[str, Any]] = [
        {"a": 1 << 15},
        {"a": -(1 << 15) - 1},
        {"b": 1 << 31},
        {"c": 1e39},
        {"d": "abcd"},
        {"d": "a\0"},
        {"d": "\ud800"},
        {"f": "\0"},
    ]
    edges: list[dict[str, Any]] = [
        {"a": (1 << 15) - 1, "b": -(1 << 31), "c": -3e38, "d": "abc    "},
        dict.fromkeys(columns),
    ]
    records = [good, *(good | one for one in bad), *(good | one for one in edges)]
    written = await sink.write([batch_of([good]), batch_of(records)])
    assert [letter.reason for letter in bench.office.letters] == [
        "row:range", "row:range", "row:range", "row:range", "row:too_long", "row:character", "row:surrogate",
    ] + ["row:character"] * (len(written.rejected[1]) - 7)  # fmt: skip
    assert written.rejected[1][:7] == [1, 2, 3, 4, 5, 6, 7]
    stored = server.query(f"SELECT a, b, c, d, e::text, f, g FROM {table} ORDER BY id")
    assert stored[0] == stored[1] == (1, 2, 1.5, "abc", "2026-01-31 08:00:00", [1], '{"h":null}')
    assert (32767, -(1 << 31), "abc") in [(row[0], row[1], row[3]) for row in stored]
    assert len(stored) == 12 - len(written.rejected[1])
    assert "d: 4 characters, character varying(3) has 3 at most" in bench.office.letters[4].detail


async def test_a_row_that_the_server_refuses_is_a_dead_letter_with_its_reason(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf, bench: Any
) -> None:
    server.query(
        f"CREATE TABLE {table} (n bigint UNIQUE DEFERRABLE INITIALLY DEFERRED,"
        " v float8 NOT NULL CHECK (v < 100), x jsonb)"
    )
    sink = await open_sink(
        table=table, columns={"n": "int", "v": {"type": "float"}, "x": "json"}, extra="drop"
    )
    records: list[dict[str, Any]] = [{"n": n, "v": n % 90, "x": n} for n in range(500)]
    records[3] = {"n": 3, "v": 100.0}
    records[77] = {"n": 76, "v": 1.0}
    records[200] = {"n": 200}
    records[499] = {"n": 499, "v": 1, "x": "\0"}
    written = await sink.write([batch_of(records[:100]), batch_of(records[100:])])
    assert written.rejected == [[3, 77], [100, 399]]
    letters = [(letter.reason, letter.payload["n"]) for letter in bench.office.letters]
    assert letters == [
        ("postgresql:check", 3),
        ("postgresql:unique", 76),
        ("postgresql:not_null", 200),
        ("row:character", 499),
    ]
    assert "violates check constraint" in bench.office.letters[0].detail
    assert server.query(f"SELECT count(*), count(DISTINCT n) FROM {table}") == [(496, 496)]


@pytest.mark.parametrize("added", ["before", "while it runs"])
async def test_rows_that_only_the_commit_would_refuse_are_dead_letters(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf, bench: Any, added: str
) -> None:
    constraint = f"ALTER TABLE {table} ADD UNIQUE (n) DEFERRABLE INITIALLY DEFERRED"
    server.query(f"CREATE TABLE {table} (n bigint)")
    if added == "before":
        server.query(constraint)
    sink = await open_sink(table=table, columns={"n": "int"}, extra="drop")
    if added != "before":
        server.query(constraint)
    batches = [batch_of([{"n": n % 9} for n in range(10)])]
    written, reasons = await written_at_last(sink, batches)
    assert written.rejected == [[9]]
    assert len(reasons) == (0 if added == "before" else 1)
    assert [letter.reason for letter in bench.office.letters] == ["postgresql:unique"]
    assert server.query(f"SELECT count(*) FROM {table}") == [(9,)]
    assert sink.context.counters["commits_settled", ""] == 0


@pytest.mark.parametrize("bad", [{"a": 1 << 15}, {"c": 1e39}, {"c": -1e39}])
async def test_one_value_beyond_a_narrow_column_is_refused_alone(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf, bad: dict[str, Any]
) -> None:
    server.query(f"CREATE TABLE {table} (a smallint, c real)")
    sink = await open_sink(table=table, columns={"a": "int", "c": "float"}, extra="drop")
    written = await sink.write([batch_of([{"a": 1, "c": 1.5}, {"a": 2, "c": 2.5} | bad])])
    assert written.rejected == [[1]]
    assert server.query(f"SELECT a, c FROM {table}") == [(1, 1.5)]


async def test_a_unique_index_with_the_columns_in_another_order_is_enough(
    server: PostgresqlServer, new_sink: Any, table: str
) -> None:
    server.query(f"CREATE TABLE {table} (a bigint NOT NULL, b bigint NOT NULL, UNIQUE (b, a))")
    sink = new_sink(table=table, columns={"a": "int", "b": "int"}, extra="drop", unique=["a", "b"])
    assert await asyncio.to_thread(sink.rehearse) == []


async def test_a_trigger_refuses_a_row(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf, bench: Any
) -> None:
    server.query(f"CREATE TABLE {table} (n bigint)")
    server.query(
        f"CREATE FUNCTION f_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.n = 5 THEN RAISE EXCEPTION 'not five'; END IF; RETURN NEW; END $$"
    )
    server.query(f"CREATE TRIGGER t BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION f_{table}()")
    sink = await open_sink(table=table, columns={"n": "int"}, extra="drop")
    written = await sink.write([batch_of([{"n": n} for n in range(10)])])
    assert written.rejected == [[5]]
    assert [(one.reason, one.detail) for one in bench.office.letters] == [("postgresql:refused", "not five")]


@pytest.mark.parametrize("all_keys", [False, True])
async def test_a_later_record_replaces_the_row_with_the_same_values(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf, all_keys: bool
) -> None:
    columns = {"k": "str"} if all_keys else {"k": "str", "v": "int"}
    sink = await open_sink(table=table, columns=columns, extra="drop", unique=["k"])
    batches = [batch_of([{"k": f"{n % 3}", "v": n} for n in range(start, start + 6)]) for start in (0, 6)]
    written = await sink.write(
        [*batches, batch_of([{"k": "1", "v": 99}, {"k": "new", "v": 0}], source="other")]
    )
    assert sum(written.replaced[:2]) == 9
    assert written.replaced[2] == 1
    again = await sink.write(batches)
    assert sum(again.replaced) == 12
    rows = server.query(f"SELECT * FROM {table} ORDER BY k")
    assert rows == (
        [("0",), ("1",), ("2",), ("new",)] if all_keys else [("0", 9), ("1", 10), ("2", 11), ("new", 0)]
    )


@pytest.mark.parametrize("unique", [[], ["at", "k"]])
async def test_a_table_that_its_owner_has_partitioned_is_written_to(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf, bench: Any, unique: Any
) -> None:
    server.query(f"CREATE TABLE {table} (at timestamptz, k bigint, v bigint) PARTITION BY RANGE (at)")
    for day in (1, 2):
        server.query(
            f"CREATE TABLE {table}_{day} PARTITION OF {table}"
            f" FOR VALUES FROM ('2026-01-0{day}Z') TO ('2026-01-0{day + 1}Z')"
        )
    columns = {"at": "timestamp", "k": "int", "v": "int"}
    sink = await open_sink(table=table, columns=columns, extra="drop", unique=unique)
    records = [{"at": f"2026-01-0{1 + n % 3}T00:00:00Z", "k": n % 6, "v": n} for n in range(18)]
    for replaced in (8, 12) if unique else (0, 0):
        written = await sink.write([batch_of(records)])
        assert written.rejected == [list(range(2, 18, 3))]
        assert written.replaced == [replaced]
    assert {letter.reason for letter in bench.office.letters} == {"postgresql:check"}
    assert "no partition of relation" in bench.office.letters[0].detail
    assert server.query(f"SELECT count(*) FROM {table}") == [(4 if unique else 24,)]
    if unique:
        assert server.query(f"SELECT k, v FROM {table} ORDER BY k") == [(0, 12), (1, 13), (3, 15), (4, 16)]


async def test_with_ignore_the_first_row_stays(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    sink = await open_sink(
        table=table, columns={"k": "str", "v": "int"}, extra="drop", unique=["k"], on_conflict="ignore"
    )
    written = await sink.write([batch_of([{"k": "a", "v": 1}, {"k": "b", "v": 2}, {"k": "a", "v": 3}])])
    again = await sink.write([batch_of([{"k": "a", "v": 4}, {"k": "c", "v": 5}])])
    assert (written.replaced, again.replaced) == ([1], [1])
    assert server.query(f"SELECT * FROM {table} ORDER BY k") == [("a", 1), ("b", 2), ("c", 5)]


async def test_bad_rows_and_upserts_go_together(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf, bench: Any
) -> None:
    server.query(f"CREATE TABLE {table} (k text PRIMARY KEY, v bigint CHECK (v <> 39))")
    sink = await open_sink(table=table, columns={"k": "str", "v": "int"}, extra="drop", unique=["k"])
    records = [{"k": f"{n % 10}", "v": n} for n in range(40)] + [{"k": "nul\0", "v": 1}, {"v": 3}]
    written = await sink.write([batch_of(records)])
    assert written.rejected == [[39, 40, 41]]
    assert written.replaced == [29]
    assert server.query(f"SELECT min(v), max(v), count(*) FROM {table}") == [(29, 38, 10)]
    assert [letter.reason for letter in bench.office.letters] == [
        "schema:required", "row:character", "postgresql:check",
    ]  # fmt: skip


async def test_missing_columns_and_indexes_are_added(
    server: PostgresqlServer, new_sink: Any, table: str, batch_of: BatchOf
) -> None:
    server.query(f'CREATE TABLE {table} (a bigint, "Other" text)')
    sink = new_sink(
        table=table, columns={"a": "int", "b": "float"}, metadata=True, indexes=[["a"], ["b", "a"]]
    )
    wanted = await asyncio.to_thread(sink.rehearse)
    assert wanted[0] == f'ALTER TABLE "{table}" ADD COLUMN IF NOT EXISTS "b" double precision'
    assert len(wanted) == 7
    assert server.query(f"SELECT * FROM {table}") == []
    await sink.open()
    assert await asyncio.to_thread(sink.rehearse) == []
    await sink.write([batch_of([{"a": 1, "b": 2.5, "c": 3}])])
    assert server.query(f"SELECT a, b, source, peer, extra FROM {table}") == [
        (1, 2.5, "lab", "127.0.0.1:5", {"c": 3})
    ]


async def test_new_fields_become_columns(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    server.query(f"CREATE TABLE {table} (a bigint, note text, odd inet)")
    sink = await open_sink(table=table, columns={"a": "int"}, extra="add_column")
    records = [{"a": 1, "b": [1]}, {"a": 2, "note": "n", "A": 3, "x" * 64: 4, "ctid": 5, "odd": 6}]
    written = await sink.write([batch_of(records), batch_of([{"a": 3, "c": "new", "b": "text"}])])
    assert written.rejected_counts == [0, 0]
    assert server.query(f"SELECT a, note, b, c, extra FROM {table} ORDER BY a") == [
        (1, None, [1], None, None),
        (2, "n", None, None, {"A": 3, "x" * 64: 4, "ctid": 5, "odd": 6}),
        (3, None, "text", "new", None),
    ]
    assert sink.context.counters["extra_as_json", ""] == 4


async def test_new_fields_are_in_the_view_of_the_names(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    columns = {"a": {"type": "int", "names": ["zero", "one"]}}
    sink = await open_sink(table=table, columns=columns, extra="add_column")
    assert (await sink.write([batch_of([{"a": 1, "b": 2}])])).rejected_counts == [0]
    assert server.query(f"SELECT a, a_name, b FROM {table}_named") == [(1, "one", 2)]


@pytest.mark.parametrize(
    ("ddl", "columns", "words"),
    [
        (
            "(a text)",
            {"a": "int"},
            (
                "the column 'a' of '{t}' is text, the configuration says int, which needs bigint or integer"
                ' or smallint. To keep the old values beside the new ones, run: ALTER TABLE "{t}" RENAME'
                ' COLUMN "a" TO "a_old";'
            ),
        ),
        ("(a bigint, b uuid NOT NULL)", {"a": "int"}, "the column 'b' of '{t}' is NOT NULL and nothing"),
        ("(a bigint, b bigint GENERATED ALWAYS AS (a * 2) STORED)", {"b": "int"}, "'b' of '{t}' is computed"),
        ("(a varchar(9)[])", {"a": "json"}, "is character varying[], the configuration says json"),
    ],
)
async def test_a_table_that_does_not_fit_is_refused(
    server: PostgresqlServer, new_sink: Any, table: str, ddl: str, columns: Any, words: str
) -> None:
    server.query(f"CREATE TABLE {table} {ddl}")
    sink = new_sink(table=table, columns=columns)
    with pytest.raises(ConfigError) as rehearsed:
        await asyncio.to_thread(sink.rehearse)
    with pytest.raises(ConfigError) as opened:
        await sink.open()
    assert str(opened.value) == str(rehearsed.value)
    assert words.format(t=table) in str(opened.value)


async def test_a_view_and_equal_rows_are_refused(server: PostgresqlServer, new_sink: Any, table: str) -> None:
    server.query(f"CREATE VIEW {table} AS SELECT 1 AS a")
    with pytest.raises(ConfigError, match="is a view, not a table: name another table"):
        await new_sink(table=table, columns={"a": "int"}).open()
    server.query(f"CREATE TABLE {table}_rows AS SELECT 1::bigint AS a FROM generate_series(1, 2)")
    with pytest.raises(ConfigError, match="has rows that are equal in unique") as refused:
        await new_sink(table=f"{table}_rows", columns={"a": "int"}, unique=["a"]).open()
    statement = str(refused.value).partition("; see ")[2]
    assert server.query(statement) == [(1, 2)]


async def test_a_user_without_rights_gets_the_statement_that_grants_them(
    server: PostgresqlServer, new_sink: Any, table: str, batch_of: BatchOf
) -> None:
    user = f"u_{table}"
    server.query(f"CREATE TABLE {table} (a bigint PRIMARY KEY)")
    server.query(f"CREATE ROLE {user} LOGIN")
    options: dict[str, Any] = {"table": table, "user": user, "columns": {"a": "int"}, "unique": ["a"]}
    with pytest.raises(EnvironmentFault, match="may not write the table") as refused:
        await new_sink(**options, extra="drop").open()
    grant = str(refused.value).partition(" run ")[2]
    assert grant == f'GRANT INSERT, SELECT, UPDATE ON "{table}" TO "{user}";'
    server.query(grant)
    sink = new_sink(**options, extra="drop")
    await sink.open()
    assert (await sink.write([batch_of([{"a": 1}, {"a": 1}])])).replaced == [1]
    with pytest.raises(EnvironmentFault, match=r"let its owner run ALTER TABLE .* ADD COLUMN"):
        await new_sink(**options).open()


async def test_a_name_with_a_point_is_in_that_schema(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf
) -> None:
    server.query(f'CREATE SCHEMA "S_{table}"')
    sink = await open_sink(table=f"S_{table}.read ings", columns={"a": "int"}, extra="drop")
    await sink.write([batch_of([{"a": 1}])])
    assert server.query(f'SELECT a FROM "S_{table}"."read ings"') == [(1,)]
    with pytest.raises(EnvironmentFault, match=r"schema .* does not exist"):
        await open_sink(table="nowhere.readings")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"database": "absent"}, 'database "absent" does not exist; create it: CREATE DATABASE'),
        ({"user": "nobody-here"}, 'role "nobody-here" does not exist'),
        ({"user": "guest"}, "no password supplied; set password to a file with it"),
        (
            {"user": "guest", "password": "pg.password"},
            'password authentication failed for user "guest"; see the file of the option password',
        ),
    ],
)
async def test_a_refused_login_keeps_the_daemon_from_starting(
    server: PostgresqlServer, new_sink: Any, tmp_path: Path, options: Any, words: str
) -> None:
    server.query("DO $$ BEGIN CREATE ROLE guest LOGIN PASSWORD 'right'; EXCEPTION WHEN OTHERS THEN END $$")
    (tmp_path / "pg.password").write_text("s3cr3t-wrong\n")
    (tmp_path / "pg.password").chmod(0o600)
    sink = new_sink(address=server.address, **options)
    with pytest.raises(EnvironmentFault) as opened:
        await sink.open()
    assert str(opened.value) == f"PostgreSQL at {server.address}: {words}"
    with pytest.raises(EnvironmentFault) as rehearsed:
        await asyncio.to_thread(sink.rehearse)
    assert str(rehearsed.value) == str(opened.value)
    assert "s3cr3t" not in str(opened.value)


async def test_the_password_is_read_from_its_file(
    server: PostgresqlServer, open_sink: Any, table: str, tmp_path: Path, batch_of: BatchOf
) -> None:
    server.query("DO $$ BEGIN CREATE ROLE guest LOGIN PASSWORD 'right'; EXCEPTION WHEN OTHERS THEN END $$")
    server.query(f"CREATE TABLE {table} (a bigint); GRANT INSERT ON {table} TO guest")
    (tmp_path / "pg.password").write_text("right\n")
    (tmp_path / "pg.password").chmod(0o600)
    login = {"address": server.address, "user": "guest", "password": "pg.password"}
    sink = await open_sink(**login, table=table, columns={"a": "int"}, extra="drop")
    await sink.write([batch_of([{"a": 1}])])
    assert server.query(f"SELECT a FROM {table}") == [(1,)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"address": "postgresql://u:p@host/db"}, "a URL is not taken, because it may hold a password"),
        ({"address": "/run/postgresql"}, 'write "/run/postgresql/.s.PGSQL.5432"'),
        ({"address": "127.0.0.1:0"}, "PostgreSQL's is 5432"),
        ({"tls": {"server_name": "x"}}, "server_name does nothing without ca"),
        ({"connect_timeout": "1s"}, "greater than or equal to 2"),
        ({"database": ""}, "at least 1 character"),
    ],
)
def test_options_that_cannot_be_are_refused(options: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words.replace("/", r"\/").replace(".", r"\.")):
        Postgresql.Config.model_validate({"type": "postgresql", "database": "lab", **options})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unique": ["a"]}, "'unique' needs columns"),
        ({"on_conflict": "ignore", "columns": {"a": "int"}}, "'on_conflict' needs 'unique'"),
        ({"columns": {"xmin": "int"}}, "'xmin' cannot be a column: each table of PostgreSQL has a system"),
        ({"columns": {"x" * 64: "int"}}, "a name of PostgreSQL has 1 to 63 bytes"),
        ({"table": "a" * 64}, "cannot be a table: a name of PostgreSQL has 1 to 63 bytes"),
        ({"table": ".t"}, "cannot be a table"),
        ({"columns": {"a": "int"}, "unique": ["b"]}, "has no column 'b' to index"),
        ({"columns": {"source": "str"}, "metadata": True}, "metadata = true adds a column 'source'"),
        ({"schema": "absent"}, "there is no schema 'absent'"),
    ],
)
def test_settings_that_contradict_are_refused(new_sink: Any, options: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        new_sink(**options)


async def test_dead_letters_come_before_the_rows(
    server: PostgresqlServer, open_sink: Any, table: str, batch_of: BatchOf, bench: Any
) -> None:
    sink = await open_sink(table=table, columns={"n": "int"}, extra="drop")
    batches = [batch_of([{"n": 1}, {"n": "x"}])]
    bench.office.closed = True
    with pytest.raises(SinkError, match="disk_full"):
        await sink.write(batches)
    assert server.query(f"SELECT count(*) FROM {table}") == [(0,)]
    bench.office.closed = False
    assert (await sink.write(batches)).rejected == [[1]]
    assert server.query(f"SELECT n FROM {table}") == [(1,)]
    assert len(bench.office.letters) == 1
    assert json.dumps(bench.office.letters[0].payload) == '{"n": "x"}'


@pytest.fixture(scope="module")
def encrypted(new_authority: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """A server with TLS, and the authority of its certificate."""
    authority = new_authority(tmp_path_factory.mktemp("ca"))
    cert, key = authority.issue("server")
    server = PostgresqlServer()
    server.stop()
    for file, name in ((cert, "server.crt"), (key, "server.key"), (authority.ca, "ca.crt")):
        copy = server.data / name
        copy.write_bytes(file.read_bytes())
        copy.chmod(0o600)
        if os.getuid() == 0:
            shutil.chown(copy, "postgres")
    with server.data.joinpath("postgresql.auto.conf").open("a") as file:
        file.write("ssl = on\nssl_ca_file = 'ca.crt'\n")
    server.start()
    yield server, authority
    server.remove()


async def test_with_tls_the_server_and_the_sink_show_certificates(
    encrypted: tuple[Any, Any], open_sink: Any, batch_of: BatchOf
) -> None:
    server, authority = encrypted
    server.query("CREATE ROLE cert LOGIN")
    server.query("CREATE TABLE secret (a bigint); GRANT INSERT ON secret TO cert")
    cert, key = authority.issue("cert")
    key.chmod(0o600)
    table = {"table": "secret", "columns": {"a": "int"}, "extra": "drop"}
    tls = {"ca": str(authority.ca), "cert": str(cert), "key": str(key), "server_name": "localhost"}
    sink = await open_sink(address=server.address, user="cert", tls=tls, **table)
    await sink.write([batch_of([{"a": 1}])])
    found = server.query(
        "SELECT ssl, version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'cert'"
    )
    assert found == [(True, "TLSv1.3")]
    assert server.query("SELECT a FROM secret") == [(1,)]


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ({"server_name": "other.example"}, 'does not match host name "other.example"'),
        ({"ca": "other"}, "certificate verify failed"),
        ({"user": "cert"}, "certificate"),
    ],
)
async def test_a_certificate_that_does_not_fit_keeps_the_daemon_from_starting(
    encrypted: tuple[Any, Any], new_sink: Any, new_authority: Any, tmp_path: Path, tls: Any, words: str
) -> None:
    server, authority = encrypted
    options = {"ca": str(authority.ca)} | tls
    if tls.get("ca") == "other":
        options["ca"] = str(new_authority(tmp_path).ca)
    user = options.pop("user", "postgres")
    sink = new_sink(address=server.address, user=user, tls=options)
    with pytest.raises(EnvironmentFault, match=words) as opened:
        await sink.open()
    assert str(opened.value).startswith(f"PostgreSQL at {server.address}: ")
    assert "\n" not in str(opened.value)
    with pytest.raises(EnvironmentFault) as rehearsed:
        await asyncio.to_thread(sink.rehearse)
    assert str(rehearsed.value) == str(opened.value)


async def test_tls_with_a_server_that_has_none_keeps_the_daemon_from_starting(
    server: PostgresqlServer, encrypted: tuple[Any, Any], new_sink: Any
) -> None:
    sink = new_sink(address=server.address, tls={"ca": str(encrypted[1].ca)})
    with pytest.raises(
        EnvironmentFault, match="server does not support SSL, but SSL was required; leave tls out"
    ):
        await sink.open()
    absent = new_sink(address=server.address, tls={"ca": "absent.pem"})
    with pytest.raises(EnvironmentFault, match=r"absent\.pem cannot be read"):
        await absent.open()
