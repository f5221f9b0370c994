import asyncio
import contextlib
import copy
import json
import math
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.core.batch import Batch
from streamd.core.books import Entry
from streamd.core.errors import ConfigError, EnvironmentFault, SinkError
from streamd.core.schema import FieldSettings
from streamd.storage.rows import Rows
from streamd.storage.typed_rows import TypedRows

ALL_TYPES = {
    "t": "str", "i": "int", "f": "float", "b": "bool",
    "at": "timestamp", "j": "json", "raw": "bytes", "x": "any",
}  # fmt: skip
ONE_OF_EACH = {
    "t": "数\x00据",
    "i": -(2**63),
    "f": 1,
    "b": True,
    "at": "2026-01-31T09:00:00+01:00",
    "j": {"a": [1, None]},
    "raw": b"\xff\x00",
    "x": "text",
}
READING = {"sensor": "str", "seq": {"type": "int", "required": False}, "value": "float"}


def readings(count: int) -> list[dict[str, Any]]:
    return [{"sensor": f"s-{i % 7}", "seq": i, "value": i / 2} for i in range(count)]


@contextlib.contextmanager
def write_lock(path: Path) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


# --- what is stored -----------------------------------------------------------------------------------------


async def test_without_schema_records_are_json_in_the_catch_all_table(bench: Any, batch_of: Any) -> None:
    sink = await bench.open()
    batch = batch_of(
        [{"a": 1, "@flag": "truncated"}, {"数": "据", "raw": b"\xff"}, {"nothing": None}], received_at=1.5
    )
    written = await sink.write([batch])
    assert (written.rejected, written.replaced) == ([0], [0])
    assert bench.query("SELECT * FROM records") == [
        (1, "1970-01-01T00:00:01.500000Z", "lab", "127.0.0.1:5", '{"a":1,"@flag":"truncated"}'),
        (2, "1970-01-01T00:00:01.500000Z", "lab", "127.0.0.1:5", '{"数":"据","raw":"/w=="}'),
        (3, "1970-01-01T00:00:01.500000Z", "lab", "127.0.0.1:5", '{"nothing":null}'),
    ]
    (sql,) = bench.query("SELECT sql FROM sqlite_schema WHERE name = 'records'")[0]
    assert sql == (
        'CREATE TABLE "records" (id INTEGER PRIMARY KEY, received_at TEXT, source TEXT, peer TEXT,'
        " record TEXT /* JSON */)"
    )


async def test_every_type_of_field_has_its_column(bench: Any, batch_of: Any) -> None:
    bench.schema(**ALL_TYPES)
    sink = await bench.open(schema="reading", table="t")
    assert (await sink.write([batch_of([ONE_OF_EACH])])).rejected == [0]
    assert bench.query("SELECT t, i, f, b, at, j, raw, x, extra FROM t") == [
        (
            "数\x00据",
            -(2**63),
            1.0,
            1,
            "2026-01-31T08:00:00.000000Z",
            '{"a":[1,null]}',
            b"\xff\x00",
            "text",
            None,
        )
    ]
    assert bench.query("SELECT group_concat(type, ' ') FROM pragma_table_info('t')") == [
        ("TEXT INTEGER REAL INTEGER TEXT TEXT BLOB ANY TEXT",)
    ]
    assert bench.query("SELECT strict FROM pragma_table_list('t')") == [(1,)]


@pytest.mark.parametrize("metadata", [False, True])
async def test_structs_and_dicts_give_the_same_rows(bench: Any, batch_of: Any, metadata: bool) -> None:
    schema = bench.schema(**ALL_TYPES)
    record = ONE_OF_EACH | {"at": "2026-01-31T08:00:00.000000Z", "f": 1.0}
    values: list[Any] = [1, 1.5, b"b", True, [1], {"k": None}]
    json_values: list[Any] = [0, "s", [], {}]
    records = [record | {"x": x, "j": j} for x in values for j in json_values]
    before = copy.deepcopy(records)
    structs = [schema.struct(**copy.deepcopy(record)) for record in records]
    rows = []
    for table, batch in (("a", batch_of(records)), ("b", batch_of(structs, typed=True))):
        sink = await bench.open(schema="reading", table=table, metadata=metadata)
        assert sink.accepts_typed(schema)
        assert (await sink.write([batch])).rejected == [0]
        rows.append(bench.query(f"SELECT * FROM {table}"))  # noqa: S608 - the test's own names
    assert len(rows[0]) == 24
    assert rows[0] == rows[1]
    assert records == before


async def test_structs_give_the_same_json_as_dicts(bench: Any, batch_of: Any) -> None:
    schema = bench.schema(a="int", b__c="str")
    sink = await bench.open()
    assert sink.accepts_typed(schema)
    struct = msgspec.convert({"a": 1, "b.c": "x"}, schema.struct)
    await sink.write([batch_of([struct], typed=True), batch_of([{"a": 1, "b.c": "x"}])])
    assert bench.query("SELECT record FROM records") == [('{"a":1,"b.c":"x"}',)] * 2


async def test_metadata_is_that_of_each_record(bench: Any, batch_of: Any) -> None:
    bench.schema(**READING)
    sink = await bench.open(schema="reading", metadata=True, table="t")
    record = {"sensor": "s", "value": 1.0}
    lifted = [
        record | {"@source": "lab", "@peer": "p3", "@received_at": "1970-01-01T00:00:09.000000Z"},
        record | {"@received_at": "not a time"},
    ]
    await sink.write(
        [
            batch_of([record, record], peers=["p1", "p2"], received_at=[1.0, 2.0]),
            batch_of(lifted, lifted=True),
        ]
    )
    assert bench.query("SELECT received_at, source, peer, extra FROM t") == [
        ("1970-01-01T00:00:01.000000Z", "lab", "p1", None),
        ("1970-01-01T00:00:02.000000Z", "lab", "p2", None),
        ("1970-01-01T00:00:09.000000Z", "lab", "p3", None),
        (None, "lab", None, None),
    ]


async def test_lifted_metadata_is_not_in_the_json(bench: Any, batch_of: Any) -> None:
    sink = await bench.open()
    record = {
        "a": 1,
        "@source": "lab",
        "@peer": "p",
        "@received_at": "1970-01-01T00:00:09.000000Z",
        "@flag": "x",
    }
    before = dict(record)
    await sink.write([batch_of([record], lifted=True)])
    assert bench.query("SELECT received_at, peer, record FROM records") == [
        ("1970-01-01T00:00:09.000000Z", "p", '{"a":1,"@flag":"x"}')
    ]
    assert record == before


async def test_columns_take_paths_and_other_names(bench: Any, batch_of: Any) -> None:
    columns = {
        "temp": {"type": "float", "from": "payload.temp"},
        "dev.id": "str",
        "n": {"type": "int", "from": "No"},
    }
    sink = await bench.open(table="t", columns=columns)
    await sink.write(
        [
            batch_of(
                [
                    {"payload": {"temp": 21.5, "hum": 40}, "dev": {"id": "nested"}, "No": 1},
                    {"payload": {"temp": 20}, "dev.id": "exact", "dev": {"id": "not this"}},
                    {"payload": "no object", "dev": 5},
                ]
            )
        ]
    )
    assert bench.query('SELECT temp, "dev.id", n, extra FROM t') == [
        (21.5, "nested", 1, '{"payload":{"hum":40}}'),
        (20.0, "exact", None, '{"dev":{"id":"not this"}}'),
        (None, None, None, '{"payload":"no object","dev":5}'),
    ]


async def test_columns_replace_fields_of_the_schema_and_add_to_them(bench: Any, batch_of: Any) -> None:
    schema = bench.schema(**READING)
    sink = await bench.open(table="t", schema="reading", columns={"value": "any", "unit": "str"})
    assert not sink.accepts_typed(schema)
    await sink.write([batch_of([{"sensor": "s", "value": "high", "unit": "C"}])])
    assert bench.query("SELECT sensor, seq, value, unit FROM t") == [("s", None, "high", "C")]


# --- fields without a column --------------------------------------------------------------------------------


async def test_extra_json_keeps_the_other_fields(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"})
    record = {"a": 1, "b": [1], "c": None}
    await sink.write([batch_of([record, {"a": 2}])])
    assert bench.query("SELECT a, extra FROM t") == [(1, '{"b":[1],"c":null}'), (2, None)]
    assert record == {"a": 1, "b": [1], "c": None}


async def test_extra_add_column_makes_columns_of_any_type(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, extra="add_column")
    await sink.write([batch_of([{"a": 1}, {"a": 2, "b": "x"}]), batch_of([{"b": 1.5, "c d": {"k": 1}}])])
    await sink.write([batch_of([{"a": 3, "c d": True}])])
    rows = [(1, None, None), (2, "x", None), (None, 1.5, '{"k":1}'), (3, None, 1)]
    assert bench.query('SELECT a, b, "c d" FROM t') == rows
    again = await bench.open(table="t", columns={"a": "int"}, extra="add_column")
    await again.write([batch_of([{"b": b"\x00"}])])
    assert bench.query("SELECT b FROM t WHERE a IS NULL") == [(1.5,), (b"\x00",)]


async def test_two_sinks_that_add_the_same_column_agree(bench: Any, batch_of: Any) -> None:
    config = {"table": "t", "columns": {"a": "int"}, "extra": "add_column"}
    one, other = await bench.open(**config), await bench.open(**config)
    await one.write([batch_of([{"b": 1}])])
    assert (await other.write([batch_of([{"b": 2}])])).rejected == [0]
    assert bench.query("SELECT b FROM t") == [(1,), (2,)]


@pytest.mark.parametrize("name", ["A", "@x", 'a"b', "", "n\n", "\ud800", "x" * 256, 5])
async def test_a_name_that_can_be_no_column_rejects_its_record(bench: Any, batch_of: Any, name: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, extra="add_column")
    written = await sink.write([batch_of([{"a": 1}, {name: 1}, {"a": 2, "b": 3}])])
    assert written.rejected == [1]
    assert [letter.reason for letter in bench.office.letters] == ["row:column_name"]
    assert bench.query("SELECT a, b FROM t") == [(1, None), (2, 3)]


async def test_columns_cannot_be_added_without_end(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, extra="add_column")
    written = await sink.write([batch_of([{f"f{i}": i} for i in range(1100)])])
    assert written.rejected == [101]
    assert {letter.reason for letter in bench.office.letters} == {"row:too_many_columns"}
    assert bench.query("SELECT count(*) FROM t") == [(999,)]
    assert bench.query("SELECT count(*) FROM pragma_table_info('t')") == [(1000,)]


async def test_extra_reject_refuses_the_record(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, extra="reject")
    written = await sink.write([batch_of([{"a": 1}, {"a": 2, "b": 1}, {"a": 3, "@flag": "truncated"}])])
    assert written.rejected == [1]
    (letter,) = bench.office.letters
    assert (letter.stage, letter.reason, letter.payload) == ("sink", "row:extra", {"a": 2, "b": 1})
    assert bench.query("SELECT * FROM t") == [(1,), (3,)]


async def test_extra_drop_counts_what_it_gives_up_once(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, extra="drop")
    batches = [batch_of([{"a": 1, "b": 1, "c": 2}, {"a": "no int", "d": 1}])]
    with write_lock(sink.path), pytest.raises(SinkError, match="locked"):
        await sink.write(batches)
    assert (await sink.write(batches)).rejected == [1]
    assert bench.query("SELECT * FROM t") == [(1,)]
    assert sink.notes["extra_dropped"] == 2


# --- what cannot be stored ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("int", 2**63, "schema:range"),
        ("int", True, "schema:type"),
        ("int", 1.0, "schema:type"),
        ("float", math.nan, "schema:range"),
        ("float", math.inf, "schema:range"),
        ("float", False, "schema:type"),
        ("float", 10**400, "schema:range"),
        ("str", "\ud800", "row:surrogate"),
        ("str", 5, "schema:type"),
        ("bool", 1, "schema:type"),
        ("bytes", "not base64!", "schema:type"),
        ("timestamp", "2026-02-30T00:00:00Z", "timestamp:range"),
        ("timestamp", "2026-01-31T00:00:00", "timestamp:naive"),
        ("timestamp", "yesterday", "timestamp:syntax"),
        ("json", {"a": math.nan}, "row:not_finite"),
        ("json", {(1, 2): 3}, "row:json"),
        ("json", "\ud800", "row:json"),
        ("any", math.inf, "row:not_finite"),
        ("any", 2**63, "row:range"),
        ("any", object(), "row:type"),
        ("any", ["\ud800"], "row:json"),
    ],
)
async def test_a_value_that_does_not_fit_rejects_its_record_only(
    bench: Any, batch_of: Any, kind: str, value: Any, reason: str
) -> None:
    sink = await bench.open(table="t", columns={"n": "int", "v": kind})
    written = await sink.write([batch_of([{"n": 1}, {"n": 2, "v": value}, {"n": 3}])])
    assert written.rejected == [1]
    assert [letter.reason for letter in bench.office.letters] == [reason]
    assert bench.query("SELECT n FROM t") == [(1,), (3,)]


async def test_a_required_column_refuses_missing_and_null(bench: Any, batch_of: Any) -> None:
    bench.schema(a="int")
    sink = await bench.open(table="t", schema="reading")
    written = await sink.write([batch_of([{"a": 1}, {}, {"a": None}])])
    assert written.rejected == [2]
    assert {letter.reason for letter in bench.office.letters} == {"schema:required"}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"v": math.nan}, "row:not_finite"),
        ({"v": [math.inf]}, "row:not_finite"),
        ({"v": "\ud800"}, "row:json"),
        ({"v": object()}, "row:json"),
    ],
)
async def test_a_record_json_has_no_word_for_is_rejected(
    bench: Any, batch_of: Any, record: dict[str, Any], reason: str
) -> None:
    sink = await bench.open()
    written = await sink.write([batch_of([{"n": None}, record, {"n": "null"}])])
    assert written.rejected == [1]
    assert [letter.reason for letter in bench.office.letters] == [reason]
    assert bench.query("SELECT record FROM records") == [('{"n":null}',), ('{"n":"null"}',)]


async def test_a_record_that_holds_itself_is_rejected(bench: Any, batch_of: Any) -> None:
    record: dict[str, Any] = {}
    record["self"] = record
    typed = await bench.open(table="t", columns={"a": "int"})
    for sink in (await bench.open(), typed):
        assert (await sink.write([batch_of([{"a": 1}, record])])).rejected == [1]
    assert [letter.reason for letter in bench.office.letters] == ["row:json", "row:json"]


@pytest.mark.parametrize("place", [0, 1, 511, 512, 998, 999])
async def test_a_poison_row_anywhere_is_the_only_one_refused(bench: Any, batch_of: Any, place: int) -> None:
    sink = await bench.open(table="t", columns={"seq": "int", "v": "str"})
    records = [{"seq": i, "v": "ok"} for i in range(1000)]
    records[place]["v"] = "\ud800"
    written = await sink.write([batch_of(records[:600]), batch_of(records[600:], pipeline="other")])
    assert written.rejected == ([1, 0] if place < 600 else [0, 1])
    (letter,) = bench.office.letters
    assert (letter.payload, letter.reason) == (records[place], "row:surrogate")
    assert letter.pipeline == ("readings" if place < 600 else "other")
    assert bench.query("SELECT seq FROM t ORDER BY rowid") == [(i,) for i in range(1000) if i != place]


async def test_constraints_that_others_put_on_the_table_refuse_single_rows(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"})
    bench.query("CREATE UNIQUE INDEX mine ON t (a)")
    bench.query(
        "CREATE TRIGGER no_sevens BEFORE INSERT ON t WHEN new.a % 7 = 0"
        " BEGIN SELECT RAISE(FAIL, 'seven'); END"
    )
    written = await sink.write([batch_of([{"a": i} for i in (1, 2, 3, 2, 7, 8, 14, 1, 9)])])
    assert written.rejected == [4]
    assert [(letter.payload["a"], letter.reason) for letter in bench.office.letters] == [
        (a, "sqlite:constraint") for a in (2, 7, 14, 1)
    ]
    assert bench.query("SELECT a FROM t ORDER BY rowid") == [(1,), (2,), (3,), (8,), (9,)]


async def test_a_struct_that_is_refused_becomes_a_dict(bench: Any, batch_of: Any) -> None:
    schema = bench.schema(a__b="int")
    sink = await bench.open(table="t", schema="reading")
    assert sink.accepts_typed(schema)
    bench.query('CREATE UNIQUE INDEX mine ON t ("a.b")')
    structs = [msgspec.convert({"a.b": 1}, schema.struct) for _ in range(2)]
    assert (await sink.write([batch_of(structs, typed=True)])).rejected == [1]
    assert [letter.payload for letter in bench.office.letters] == [{"a.b": 1}]


async def test_letters_are_committed_before_the_rows_and_only_once(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"})
    bench.query("CREATE UNIQUE INDEX mine ON t (a)")
    batches = [batch_of([{"a": 1}, {"a": "x"}, {"a": 1}])]
    bench.office.closed = True
    with pytest.raises(SinkError, match="dead letters"):
        await sink.write(batches)
    assert bench.query("SELECT count(*) FROM t") == [(0,)]
    bench.office.closed = False
    counted = bench.databases

    class Ledger:
        def rows(self, entries: Sequence[Entry]) -> tuple[str, list[tuple[Any, ...]]]:
            raise SinkError("io", f"{len(entries)} entries")

        def committed(self, entries: Sequence[Entry]) -> None:
            raise AssertionError(entries)

    database = await counted.acquire(sink.path)
    database.ledger = Ledger()
    with pytest.raises(SinkError, match="entries"):
        await sink.write(batches)
    database.ledger = None
    assert len(bench.office.letters) == 2
    assert (await sink.write(batches)).rejected == [2]
    assert len(bench.office.letters) == 2
    await counted.release(database)


async def test_a_table_dropped_under_the_sink_is_no_fault_of_the_rows(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"})
    bench.query("DROP TABLE t")
    with pytest.raises(SinkError, match="schema"):
        await sink.write([batch_of([{"a": 1}])])
    assert bench.office.letters == []


# --- rows that replace rows ---------------------------------------------------------------------------------


async def test_unique_replaces_and_counts_exactly(bench: Any, batch_of: Any) -> None:
    schema = bench.schema(**READING)
    sink = await bench.open(table="t", columns={"k": "str", "v": "int"}, unique=["k"])
    assert not sink.accepts_typed(schema)
    first = batch_of([{"k": "a", "v": 1}, {"k": "b", "v": 1, "more": 1}, {"k": "a", "v": 2}])
    second = batch_of([{"k": "c", "v": 1}, {"v": 5}, {"k": "b"}, {"k": "c", "v": 2}])
    written = await sink.write([first, second, batch_of([{"k": "d"}])])
    assert (written.rejected, written.replaced) == ([0, 1, 0], [1, 2, 0])
    written = await sink.write([batch_of([{"k": "a", "v": 9}])])
    assert (written.rejected, written.replaced) == ([0], [1])
    assert bench.query("SELECT k, v, extra FROM t ORDER BY k") == [
        ("a", 9, None), ("b", None, None), ("c", 2, None), ("d", None, None),
    ]  # fmt: skip
    assert bench.query("SELECT \"notnull\" FROM pragma_table_info('t')") == [(1,), (0,), (0,)]


async def test_unique_counts_exactly_beside_poison_rows(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"k": "str", "v": "str"}, unique=["k"])
    records = [{"k": str(i % 300), "v": "x" if i != 450 else "\ud800"} for i in range(1000)]
    written = await sink.write([batch_of(records[:500]), batch_of(records[500:])])
    assert (written.rejected, written.replaced) == ([1, 0], [199, 500])
    assert bench.query("SELECT count(*) FROM t") == [(300,)]


async def test_the_later_of_two_equal_rows_wins_even_where_rows_are_refused(
    bench: Any, batch_of: Any
) -> None:
    sink = await bench.open(table="t", columns={"k": "int", "v": "str"}, unique=["k"])
    records = [{"k": 1, "v": str(i)} for i in range(100)] + [{"k": 2, "v": "\ud800"}, {"k": 1, "v": "last"}]
    await sink.write([batch_of(records)])
    assert bench.query("SELECT k, v FROM t") == [(1, "last")]


async def test_unique_over_all_columns_of_structs(bench: Any, batch_of: Any) -> None:
    schema = bench.schema(k="int")
    sink = await bench.open(table="t", schema="reading", unique=["k"], extra="drop")
    assert sink.accepts_typed(schema)
    structs = [schema.struct(k=k) for k in (1, 2, 1)]
    written = await sink.write([batch_of(structs, typed=True), batch_of(structs, typed=True)])
    assert written.replaced == [1, 3]


# --- the table that is there --------------------------------------------------------------------------------


async def test_new_columns_and_indexes_are_added_to_the_old_table(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, extra="drop")
    await sink.write([batch_of([{"a": 1}])])
    await bench.close()
    config = {
        "table": "T",
        "columns": {"A": "int", "b": "timestamp"},
        "metadata": True,
        "indexes": [["A"], ["A", "b"]],
    }
    for _ in range(2):
        sink = await bench.open(**config)
        await sink.write([batch_of([{"A": 2, "b": 0}])])
        await bench.close()
    assert bench.query("SELECT a, b, source FROM t") == [
        (1, None, None),
        *[(2, "1970-01-01T00:00:00.000000Z", "lab")] * 2,
    ]
    assert len(bench.query("SELECT 1 FROM sqlite_schema WHERE type = 'index'")) == 2


async def test_indexes_with_colliding_names_are_both_made(bench: Any) -> None:
    await bench.open(table="t", columns={"a": "int", "b": "int", "a_b": "int"}, indexes=[["a", "b"], ["a_b"]])
    assert len(bench.query("SELECT 1 FROM sqlite_schema WHERE type = 'index'")) == 2


async def test_a_changed_type_is_refused_with_a_statement_that_helps(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table='t"x', columns={"v": "int"})
    await sink.write([batch_of([{"v": 1}])])
    await bench.close()
    with pytest.raises(ConfigError) as refused:
        await bench.open(table='t"x', columns={"v": "str"})
    assert refused.value.exit_code == 2
    statement = str(refused.value).partition("run: ")[2]
    assert statement == 'ALTER TABLE "t""x" RENAME COLUMN "v" TO "v_integer";'
    bench.query(statement)
    sink = await bench.open(table='t"x', columns={"v": "str"})
    await sink.write([batch_of([{"v": "one"}])])
    assert bench.query('SELECT v, v_integer FROM "t""x"') == [(None, 1), ("one", None)]


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        ("CREATE VIEW t AS SELECT 1 AS a", "is a view"),
        ("CREATE VIRTUAL TABLE t USING fts5(a)", "is a virtual"),
        ("CREATE TABLE t (a INTEGER) ", "not STRICT"),
        ("CREATE TABLE t (a INTEGER PRIMARY KEY) STRICT", "primary key"),
        ("CREATE TABLE t (a INTEGER PRIMARY KEY) STRICT, WITHOUT ROWID", "WITHOUT ROWID"),
        ("CREATE TABLE t (a INTEGER, z TEXT NOT NULL) STRICT", "nothing in the configuration"),
        ("CREATE TABLE t (a INTEGER AS (1), b TEXT) STRICT", "is computed"),
    ],
)
async def test_a_table_of_somebody_else_is_refused(bench: Any, made: str, complaint: str) -> None:
    bench.query(made)
    with pytest.raises(ConfigError, match=complaint):
        await bench.open(table="t", columns={"a": "int"})
    assert bench.query("SELECT count(*) FROM sqlite_schema WHERE name = 't'") == [(1,)]


async def test_a_typed_table_is_no_catch_all(bench: Any) -> None:
    await bench.open(table="t", columns={"a": "int"})
    with pytest.raises(ConfigError, match="give it a schema"):
        await bench.open(table="t")


async def test_equal_rows_that_forbid_unique_are_named(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"})
    await sink.write([batch_of([{"a": 1}, {"a": 1}])])
    with pytest.raises(ConfigError, match="GROUP BY") as refused:
        await bench.open(table="t", columns={"a": "int"}, unique=["a"])
    query = str(refused.value).partition("see ")[2]
    assert bench.query(query) == [(1, 2)]


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"schema": "none"}, "no schema 'none'"),
        ({"unique": ["a"]}, "needs columns"),
        ({"extra": "drop"}, "needs columns"),
        ({"metadata": False}, "needs columns"),
        ({"table": "sqlite_x"}, "SQLite keeps"),
        ({"table": ""}, "1 to 255"),
        ({"table": "a\x00b"}, "control"),
        ({"columns": {"a": "int", "A": "int"}}, "case"),
        ({"columns": {"@a": "int"}}, "cannot be named"),
        ({"columns": {"a": "int"}, "unique": ["b"]}, "no column 'b'"),
        ({"columns": {"a": "int"}, "indexes": [["a", "a"]]}, "twice"),
        ({"columns": {"a": "int"}, "indexes": [[]]}, "names no column"),
        ({"columns": {"Source": "str"}, "metadata": True}, "a field already"),
        ({"columns": {"extra": "str"}}, "a field already"),
        ({"columns": {"rowid": "int", "_rowid_": "int", "oid": "int"}}, "row number"),
        ({"path": "dead-letters.db"}, "dead letters"),
    ],
)
def test_a_wrong_configuration_is_refused_before_anything_is_opened(
    tmp_path: Path, bench: Any, config: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        bench.sink(**config)
    assert list(tmp_path.iterdir()) == []


async def test_names_are_never_sql(bench: Any, batch_of: Any) -> None:
    table = 'x" (a); DROP TABLE victim; --'
    column = "c); DROP TABLE victim; --'`[]"
    sink = await bench.open(table=table, columns={column: "int", "select": "str", "k": "int"}, unique=["k"],
                            indexes=[[column]], extra="add_column")  # fmt: skip
    bench.query("CREATE TABLE victim (a)")
    hostile = "y INTEGER); DROP TABLE victim; --"
    written = await sink.write(
        [batch_of([{column: 1, "select": "'; DROP TABLE victim; --", "k": 1, hostile: 2}])]
    )
    assert written.rejected == [0]
    assert bench.query("SELECT count(*) FROM victim") == [(0,)]
    quoted = table.replace('"', '""')
    look = f'SELECT "{column}", "select", "{hostile}" FROM "{quoted}"'  # noqa: S608 - the test's own names
    assert bench.query(look) == [(1, "'; DROP TABLE victim; --", 2)]


# --- trouble, and its end -----------------------------------------------------------------------------------


async def test_while_another_connection_writes_the_sink_says_locked(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"})
    batches = [batch_of([{"a": i} for i in range(5000)])]
    with write_lock(sink.path), pytest.raises(SinkError, match="locked"):
        await sink.write(batches)
    assert bench.query("SELECT count(*) FROM t") == [(0,)]
    await sink.write(batches)
    assert bench.query("SELECT count(*) FROM t") == [(5000,)]


async def test_a_sink_whose_table_is_ready_opens_while_another_connection_writes(bench: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, indexes=[["a"]], unique=["a"])
    with write_lock(sink.path):
        await bench.open(table="t", columns={"a": "int"}, indexes=[["a"]], unique=["a"])
        with pytest.raises(EnvironmentFault, match="locked"):
            await bench.open(table="other", columns={"a": "int"})


async def test_min_free_stops_before_the_disk_is_full_and_goes_on_after(
    bench: Any, batch_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await bench.open(retention={"min_free": "10MiB"})
    free, now_s = [20 * 2**20], [0.0]
    monkeypatch.setattr("streamd.storage.database.Database.free_bytes", lambda _: free[0])
    monkeypatch.setattr("streamd.sinks.sqlite.read_clock", lambda: type("Now", (), {"mono_s": now_s[0]}))
    await sink.write([batch_of([{"a": 1}])])
    free[0] = 2**20
    now_s[0] = 0.9
    await sink.write([batch_of([{"a": 2}])])
    now_s[0] = 1.0
    with pytest.raises(SinkError, match="min_free"):
        await sink.write([batch_of([{"a": 3}])])
    free[0], now_s[0] = 10 * 2**20, 2.0
    await sink.write([batch_of([{"a": 3}])])
    assert bench.query("SELECT count(*) FROM records") == [(3,)]


async def test_two_sinks_on_one_path_write_at_the_same_time(bench: Any, batch_of: Any) -> None:
    one = await bench.open(table="one", columns={"a": "int"})
    two = await bench.open(table="two", path="./data.db")

    async def fill(sink: Any) -> None:
        for _ in range(10):
            await sink.write([batch_of([{"a": i} for i in range(1500)])])

    await asyncio.gather(fill(one), fill(two))
    assert bench.query("SELECT (SELECT count(*) FROM one), (SELECT count(*) FROM two)") == [(15000, 15000)]


class _Ledger:
    def __init__(self) -> None:
        self.told: list[Entry] = []

    def rows(self, entries: Sequence[Entry]) -> tuple[str, list[tuple[Any, ...]]]:
        return "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?)", [tuple(entry) for entry in entries]

    def committed(self, entries: Sequence[Entry]) -> None:
        self.told += entries


@pytest.fixture
async def ledger(bench: Any, tmp_path: Path) -> AsyncIterator[_Ledger]:
    database = await bench.databases.acquire(tmp_path / "data.db")
    await database.execute("CREATE TABLE ledger (source, pipeline, sink, counter, reason, n)")
    database.ledger = _Ledger()
    yield database.ledger
    await bench.databases.release(database)


async def test_the_ledger_counts_in_the_same_transaction(bench: Any, batch_of: Any, ledger: _Ledger) -> None:
    sink = await bench.open(table="t", columns={"k": "int"}, unique=["k"])
    await sink.write(
        [
            batch_of([{"k": 1}, {"k": 1}, {}]),
            batch_of([{"k": 2}]),
            batch_of([{"k": 3}], source="floor"),
        ]
    )
    expected = [
        ("lab", "readings", "store", "stored", "", 3),
        ("lab", "readings", "store", "replaced", "", 1),
        ("floor", "readings", "store", "stored", "", 1),
    ]
    assert bench.query("SELECT * FROM ledger") == expected
    assert ledger.told == expected


async def test_a_rollback_leaves_neither_rows_nor_ledger(bench: Any, batch_of: Any, ledger: _Ledger) -> None:
    sink = await bench.open(table="t", columns={"k": "int"})
    bench.query("CREATE TRIGGER full BEFORE INSERT ON ledger BEGIN SELECT RAISE(ROLLBACK, 'stop'); END")
    with pytest.raises((SinkError, sqlite3.Error)):
        await sink.write([batch_of([{"k": 1}])])
    assert bench.query("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM ledger)") == [(0, 0)]
    assert ledger.told == []
    bench.query("DROP TRIGGER full")
    await sink.write([batch_of([{"k": 1}])])
    assert bench.query("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM ledger)") == [(1, 1)]


# --- both lanes, any values ---------------------------------------------------------------------------------

_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5),
    st.sampled_from(["2026-01-31T08:00:00.000000Z", "2026-01-31 08:00:00+02:00"]),
    st.sampled_from(["2026-13-01T00:00:00.000000Z", "aGk="]),
    st.lists(st.integers() | st.floats(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(records=st.lists(st.dictionaries(st.sampled_from([*ALL_TYPES, "z"]), _VALUES), min_size=1, max_size=6))
def test_a_batch_at_once_gives_what_each_record_gives_alone(records: list[dict[str, Any]]) -> None:
    maker = TypedRows(
        {name: FieldSettings(type=kind, required=False) for name, kind in ALL_TYPES.items()},
        metadata=False,
        extra="json",
    )
    exact = TypedRows(maker.fields, metadata=False, extra="json")
    exact._struct = None

    def made(maker: TypedRows, records: list[dict[str, Any]]) -> Rows:
        return maker.of(Batch(records, "lab", "readings", "p", 0.0))

    at_once = made(maker, records)
    one_by_one = [made(exact, [record]) for record in records]
    assert at_once.rows == [row for rows in one_by_one for row in rows.rows]
    assert list(at_once.indexes) == [index for index, rows in enumerate(one_by_one) if rows.rows]
    assert sorted((reject.index, reject.reason) for reject in at_once.rejects) == [
        (index, reject.reason) for index, rows in enumerate(one_by_one) for reject in rows.rejects
    ]
    assert all(len(row) == len(maker.columns) for row in at_once.rows)
    for row in at_once.rows:
        assert row[8] is None or set(json.loads(row[8])) == {"z"}
