import copy
import json
from typing import Any

import pytest

from streamd.core.errors import SinkError

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


async def test_without_schema_records_are_json_in_the_catch_all_table(bench: Any, batch_of: Any) -> None:
    sink = await bench.open()
    batch = batch_of(
        [{"a": 1, "@flag": "truncated"}, {"数": "据", "raw": b"\xff"}, {"nothing": None}], received_at=1.5
    )
    written = await sink.write([batch])
    assert (written.rejected_counts, written.replaced) == ([0], [0])
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
    assert (await sink.write([batch_of([ONE_OF_EACH])])).rejected_counts == [0]
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
    for table, batch in (("a", batch_of(records)), ("b", batch_of(structs, schema=schema))):
        sink = await bench.open(schema="reading", table=table, metadata=metadata)
        assert sink.accepts_typed(schema)
        assert (await sink.write([batch])).rejected_counts == [0]
        rows.append(bench.query(f"SELECT * FROM {table}"))  # noqa: S608 - the test's own names
    assert len(rows[0]) == 24
    assert rows[0] == rows[1]
    assert records == before


async def test_the_catch_all_takes_dicts_only(bench: Any) -> None:
    sink = await bench.open()
    assert not sink.accepts_typed(bench.schema(a="int"))


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


@pytest.mark.parametrize(
    ("extra", "columns", "row", "notes"),
    [
        ("json", ["a", "extra"], (1, '{"b":2}'), {}),
        ("add_column", ["a", "b"], (1, 2), {}),
        ("drop", ["a"], (1,), {"extra_dropped": 1}),
        ("reject", ["a"], None, {}),
    ],
)
async def test_lifted_metadata_is_no_field_without_a_column(
    bench: Any, batch_of: Any, extra: str, columns: list[str], row: Any, notes: dict[str, int]
) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, extra=extra)
    batch = batch_of([{"a": 1, "b": 2}, {"a": 3}])
    batch.lift()
    written = await sink.write([batch])
    assert written.rejected_counts == [int(row is None)]
    assert [letter.detail for letter in bench.office.letters] == ["'b' has no column"] * (row is None)
    assert [name for (name,) in bench.query("SELECT name FROM pragma_table_info('t')")] == columns
    empty = (3, *[None] * (len(columns) - 1))
    assert bench.query("SELECT * FROM t ORDER BY a") == [row, empty][row is None :]
    assert sink.context.counters.numbers() == notes


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


@pytest.mark.parametrize(
    ("columns", "accepted"),
    [
        ({"a": "int", "b": {"type": "float", "ge": 0, "le": 9}}, True),
        ({"b": "float", "a": "int", "c": "str"}, True),
        ({"a": "int"}, False),
        ({"a": "float", "b": "float"}, False),
        ({"a": "int", "b": {"type": "float", "ge": 1}}, False),
        ({"a": {"type": "int", "required": True}, "b": "float"}, False),
        ({"a": "int", "b": "float", "c": {"type": "str", "required": True}}, False),
        ({"a": "int", "b": "float", "c": {"type": "int", "from": "a"}}, False),
        ({"a": "int", "b": "float", "c": {"type": "int", "from": "b.x"}}, False),
        ({"a": {"type": "int", "from": "b"}, "b": "float"}, False),
    ],
)
async def test_structs_are_taken_where_no_column_needs_another_look(
    bench: Any, batch_of: Any, columns: dict[str, Any], accepted: bool
) -> None:
    schema = bench.schema(
        "other", a={"type": "int", "required": False}, b={"type": "float", "ge": 0, "le": 9}
    )
    sink = await bench.open(table="t", columns=columns)
    assert sink.accepts_typed(schema) is accepted
    if accepted:
        await sink.write([batch_of([schema.struct(a=1, b=2.0)], schema=schema), batch_of([], schema=schema)])
        assert bench.query("SELECT a, b FROM t") == [(1, 2.0)]


async def test_extra_json_keeps_the_other_fields(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"})
    record = {"a": 1, "b": [1], "c": None}
    await sink.write([batch_of([record, {"a": 2}])])
    assert bench.query("SELECT a, extra FROM t") == [(1, '{"b":[1],"c":null}'), (2, None)]
    assert record == {"a": 1, "b": [1], "c": None}


async def test_batches_with_and_without_other_fields_stay_in_order(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"})
    await sink.write([batch_of([{"a": 1}]), batch_of([{"a": 2, "b": 1}, {"a": 3}]), batch_of([{"a": 4}])])
    assert bench.query("SELECT a, extra FROM t ORDER BY rowid") == [
        (1, None), (2, '{"b":1}'), (3, None), (4, None),
    ]  # fmt: skip


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
    assert (await other.write([batch_of([{"b": 2}])])).rejected_counts == [0]
    assert bench.query("SELECT b FROM t") == [(1,), (2,)]


NO_COLUMNS = ["A", "@x", 'a"b', "", "n\n", "x" * 256, "rowid", "OID", "_rowid_", "source", "PEER",
              "received_at", "extra", "Extra", "a\\b"]  # fmt: skip


@pytest.mark.parametrize("name", NO_COLUMNS)
async def test_a_field_that_can_be_no_column_is_kept_as_json(bench: Any, batch_of: Any, name: str) -> None:
    config = {"table": "t", "columns": {"a": "int"}, "extra": "add_column", "metadata": True}
    sink = await bench.open(**config)
    written = await sink.write([batch_of([{"a": 1}, {name: 1, "b": 0}, {"a": 2, "b": 3}])])
    assert (written.rejected_counts, bench.office.letters) == ([0], [])
    await sink.write([batch_of([{"a": 4, name: "x"}, {name: None}]), batch_of([{"a": 5}])])
    as_json = [json.dumps({name: value}, separators=(",", ":")) for value in (1, "x", None)]
    stored = [(1, None, None), (None, 0, as_json[0]), (2, 3, None), (4, None, as_json[1]),
              (None, None, as_json[2]), (5, None, None)]  # fmt: skip
    assert bench.query("SELECT a, b, extra FROM t ORDER BY rowid") == stored
    assert bench.query("SELECT DISTINCT source, peer, typeof(received_at) FROM t") == [
        ("lab", "127.0.0.1:5", "text")
    ]
    assert sink.context.counters["extra_as_json", ""] == 3
    again = await bench.open(**config)
    await again.write([batch_of([{"a": 6, name: [1]}])])
    assert bench.query("SELECT a, extra FROM t WHERE a = 6") == [
        (6, json.dumps({name: [1]}, separators=(",", ":")))
    ]


@pytest.mark.parametrize("name", ["SELECT", "sqlite_x", "id", "_id", "İ", "ß", "Σ", "K", "a b", "a'b", "[x]"])
async def test_an_odd_name_is_a_column_as_it_is_written(bench: Any, batch_of: Any, name: str) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, extra="add_column")
    await sink.write([batch_of([{"a": 1, name: 2}])])
    assert bench.query("SELECT name FROM pragma_table_info('t')") == [("a",), (name,)]
    assert bench.query("SELECT * FROM t") == [(1, 2)]


async def test_the_first_spelling_of_a_name_is_the_column_and_the_others_are_json(
    bench: Any, batch_of: Any
) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, extra="add_column")
    await sink.write([batch_of([{"id": 1, "ID": 2}, {"ID": 3}, {"Id": 4, "id": 5}, {"id": 6}])])
    assert bench.query("SELECT id, extra FROM t ORDER BY rowid") == [
        (1, '{"ID":2}'), (None, '{"ID":3}'), (5, '{"Id":4}'), (6, None),
    ]  # fmt: skip
    assert sink.context.counters["extra_as_json", ""] == 3


async def test_two_sinks_that_add_one_name_in_two_spellings_lose_nothing(bench: Any, batch_of: Any) -> None:
    config = {"table": "t", "columns": {"a": "int"}, "extra": "add_column"}
    one, other = await bench.open(**config), await bench.open(**config)
    await one.write([batch_of([{"id": 1}])])
    await other.write([batch_of([{"ID": 2}])])
    await one.write([batch_of([{"ID": 3, "id": 4}])])
    assert bench.query("SELECT id, extra FROM t ORDER BY rowid") == [
        (1, None), (None, '{"ID":2}'), (4, '{"ID":3}'),
    ]  # fmt: skip


async def test_a_field_that_takes_the_name_of_the_json_column_leaves_none(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int", "extra": "any"}, extra="add_column")
    written = await sink.write([batch_of([{"extra": 1, "b": 2}, {"A": 1}])])
    assert written.rejected_counts == [1]
    (letter,) = bench.office.letters
    assert letter.reason == "row:column_name"
    assert "the column extra" in letter.detail
    assert bench.query("SELECT extra, b FROM t") == [(1, 2)]


async def test_a_table_with_all_its_columns_keeps_the_odd_names_as_json(bench: Any, batch_of: Any) -> None:
    columns = {f"f{i}": "int" for i in range(998)}
    sink = await bench.open(table="t", columns=columns, extra="add_column")
    written = await sink.write([batch_of([{"f0": 1, "F0": 2}, {"b": 3}, {"c": 4}, {"F1": 5}])])
    assert written.rejected_counts == [1]
    assert [letter.reason for letter in bench.office.letters] == ["row:too_many_columns"]
    assert bench.query("SELECT f0, b, extra FROM t ORDER BY rowid") == [
        (1, None, '{"F0":2}'), (None, 3, None), (None, None, '{"F1":5}'),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["\ud800", (1, 2)])
async def test_a_name_that_json_cannot_hold_either_rejects_its_record(
    bench: Any, batch_of: Any, name: Any
) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, extra="add_column")
    written = await sink.write([batch_of([{"a": 1}, {name: 1}, {"a": 2, "b": 3}])])
    assert written.rejected_counts == [1]
    assert [letter.reason for letter in bench.office.letters] == ["row:json"]
    assert bench.query("SELECT a, b FROM t") == [(1, None), (2, 3)]


async def test_columns_cannot_be_added_without_end(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, extra="add_column")
    written = await sink.write([batch_of([{f"f{i}": i} for i in range(1100)])])
    assert written.rejected_counts == [101]
    assert {letter.reason for letter in bench.office.letters} == {"row:too_many_columns"}
    assert bench.query("SELECT count(*) FROM t") == [(999,)]
    assert bench.query("SELECT count(*) FROM pragma_table_info('t')") == [(1000,)]


async def test_a_record_of_100_000_names_is_refused_by_their_number(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, extra="add_column")
    written = await sink.write([batch_of([{f"f{i}": i for i in range(100_000)}, {"a": 1}])])
    assert written.rejected_counts == [1]
    assert [letter.reason for letter in bench.office.letters] == ["row:too_many_columns"]
    assert bench.query("SELECT * FROM t") == [(1,)]


async def test_extra_reject_refuses_the_record(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, extra="reject")
    written = await sink.write([batch_of([{"a": 1}, {"a": 2, "b": 1}, {"a": 3, "@flag": "truncated"}])])
    assert written.rejected_counts == [1]
    (letter,) = bench.office.letters
    assert (letter.stage, letter.reason, letter.payload) == ("sink", "row:extra", {"a": 2, "b": 1})
    assert bench.query("SELECT * FROM t") == [(1,), (3,)]


async def test_extra_drop_counts_what_it_gives_up_once(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, extra="drop")
    batches = [batch_of([{"a": 1, "b": 1, "c": 2}, {"a": "no int", "d": 1}])]
    with bench.write_lock(), pytest.raises(SinkError, match="locked"):
        await sink.write(batches)
    assert (await sink.write(batches)).rejected_counts == [1]
    assert bench.query("SELECT * FROM t") == [(1,)]
    assert sink.context.counters["extra_dropped", ""] == 2


async def test_extra_drop_counts_what_good_records_give_up(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"}, extra="drop")
    written = await sink.write([batch_of([{"a": 1, "b": 1, "c": 2}, {"a": 2}]), batch_of([{"d": 1}])])
    assert (written.rejected_counts, sink.context.counters.numbers()) == ([0, 0], {"extra_dropped": 3})
    await sink.write([batch_of([{"a": 3}])])
    assert sink.context.counters.numbers() == {"extra_dropped": 3}
    assert bench.query("SELECT a FROM t") == [(1,), (2,), (None,), (3,)]


async def test_batches_of_one_write_may_fill_different_columns(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"sensor": "str", "hot": "float", "cold": "float"})
    batches = []
    for name in ("hot", "cold", "hot"):
        schema = bench.schema(sensor="str", **{name: "float"})
        assert sink.accepts_typed(schema)
        batches.append(batch_of([schema.struct(**{"sensor": name, name: 1.0})], schema=schema))
    batches.insert(1, batch_of([{"sensor": "both", "hot": 2.0, "cold": 3.0, "more": 1}]))
    assert (await sink.write(batches)).rejected_counts == [0] * 4
    assert bench.query("SELECT sensor, hot, cold, extra FROM t ORDER BY rowid") == [
        ("hot", 1.0, None, None),
        ("both", 2.0, 3.0, '{"more":1}'),
        ("cold", None, 1.0, None),
        ("hot", 1.0, None, None),
    ]
    assert (await sink.write(batches[2:])).rejected_counts == [0, 0]
    assert bench.query("SELECT sensor, hot, cold, extra FROM t ORDER BY rowid")[4:] == [
        ("cold", None, 1.0, None),
        ("hot", 1.0, None, None),
    ]


async def test_a_log_that_a_reader_pins_is_noted_once(bench: Any, batch_of: Any) -> None:
    sink = await bench.open()
    sink._writer.database.write_ahead_log.pinned += 1
    for n in range(2):
        await sink.write([batch_of([{"n": n}])])
    assert sink.context.counters["wal_pinned", ""] == 1
