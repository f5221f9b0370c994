"""Also about `sqlite/rehearsal.py`."""

from pathlib import Path
from typing import Any

import pytest

from streamd.core.errors import ConfigError

READING = {"sensor": "str", "seq": {"type": "int", "required": False}, "value": "float"}


async def test_unique_replaces_and_counts_exactly(bench: Any, batch_of: Any) -> None:
    schema = bench.schema(**READING)
    sink = await bench.open(table="t", columns={"k": "str", "v": "int"}, unique=["k"])
    assert not sink.accepts_typed(schema)
    first = batch_of([{"k": "a", "v": 1}, {"k": "b", "v": 1, "more": 1}, {"k": "a", "v": 2}])
    second = batch_of([{"k": "c", "v": 1}, {"v": 5}, {"k": "b"}, {"k": "c", "v": 2}])
    written = await sink.write([first, second, batch_of([{"k": "d"}])])
    assert (written.rejected_counts, written.replaced) == ([0, 1, 0], [1, 2, 0])
    written = await sink.write([batch_of([{"k": "a", "v": 9}])])
    assert (written.rejected_counts, written.replaced) == ([0], [1])
    assert bench.query("SELECT k, v, extra FROM t ORDER BY k") == [
        ("a", 9, None), ("b", None, None), ("c", 2, None), ("d", None, None),
    ]  # fmt: skip
    assert bench.query("SELECT \"notnull\" FROM pragma_table_info('t')") == [(1,), (0,), (0,)]


async def test_unique_counts_exactly_beside_poison_rows(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"k": "str", "v": "str"}, unique=["k"])
    records = [{"k": str(i % 300), "v": "x" if i != 450 else "\ud800"} for i in range(1000)]
    written = await sink.write([batch_of(records[:500]), batch_of(records[500:])])
    assert (written.rejected_counts, written.replaced) == ([1, 0], [199, 500])
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
    written = await sink.write([batch_of(structs, schema=schema), batch_of(structs, schema=schema)])
    assert written.replaced == [1, 3]


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
    assert bench.databases.paths == []
    assert bench.query("SELECT count(*) FROM sqlite_schema WHERE name = 't'") == [(1,)]


async def test_a_column_of_somebody_else_that_has_a_default_need_not_be_filled(
    bench: Any, batch_of: Any
) -> None:
    bench.query("CREATE TABLE t (a INTEGER, z TEXT NOT NULL DEFAULT 'zero', y INTEGER) STRICT")
    sink = await bench.open(table="t", columns={"a": "int"}, extra="drop")
    assert (await sink.write([batch_of([{"a": 1}, {"a": 2}])])).rejected_counts == [0]
    assert bench.query("SELECT * FROM t") == [(1, "zero", None), (2, "zero", None)]


@pytest.mark.parametrize("stored", ["", " STORED"])
async def test_a_computed_column_takes_no_value_and_a_field_of_its_name_is_kept_as_json(
    bench: Any, batch_of: Any, stored: str
) -> None:
    bench.query(
        f"CREATE TABLE t (a INTEGER, twice INTEGER AS (a * 2){stored}, z TEXT DEFAULT 'zero', i INT) STRICT"
    )
    sink = await bench.open(table="t", columns={"a": "int"}, extra="add_column")
    assert (await sink.write([batch_of([{"a": 1}, {"a": 2, "z": "own"}])])).rejected_counts == [0]
    assert bench.query("SELECT * FROM t") == [(1, 2, None, None), (2, 4, "own", None)]
    batches = [
        batch_of([{"a": 3, "twice": 5}, {"a": 4, "TWICE": "no", "i": 4}]),
        batch_of([{"a": 5, "b": 1}]),
    ]
    assert (await sink.write(batches)).rejected_counts == [0, 0]
    assert bench.query("SELECT a, twice, i, extra, b FROM t WHERE a > 2") == [
        (3, 6, None, '{"twice":5}', None),
        (4, 8, 4, '{"TWICE":"no"}', None),
        (5, 10, None, None, 1),
    ]
    assert sink.context.counters.numbers() == {"extra_as_json": 2}
    again = await bench.open(table="t", columns={"a": "int"}, extra="add_column")
    assert (await again.write([batch_of([{"a": 6, "twice": 5, "b": 2}])])).rejected_counts == [0]
    assert bench.query("SELECT a, twice, extra, b FROM t WHERE a > 5") == [(6, 12, '{"twice":5}', 2)]


INDEX_COUNT = "SELECT count(*) FROM pragma_index_list('t')"


@pytest.mark.parametrize(
    ("made", "serves_unique", "serves_plain"),
    [
        ("CREATE UNIQUE INDEX mine ON t (k)", True, True),
        ("CREATE UNIQUE INDEX mine ON T (K)", True, True),
        ("CREATE UNIQUE INDEX mine ON t (k DESC)", True, True),
        ("CREATE INDEX mine ON t (k)", False, True),
        ("CREATE UNIQUE INDEX mine ON t (k) WHERE v > 0", False, False),
        ("CREATE INDEX mine ON t (k) WHERE k IS NOT NULL", False, False),
        ("CREATE UNIQUE INDEX mine ON t (k COLLATE NOCASE)", False, False),
        ("CREATE INDEX mine ON t (k COLLATE RTRIM)", False, False),
        ("CREATE UNIQUE INDEX mine ON t (lower(k))", False, False),
        ("CREATE UNIQUE INDEX mine ON t (k, v)", False, False),
        ("CREATE INDEX mine ON t (v, k)", False, False),
    ],
)
async def test_an_index_of_somebody_else_serves_only_where_it_does_the_same(
    bench: Any, batch_of: Any, made: str, serves_unique: bool, serves_plain: bool
) -> None:
    bench.query("CREATE TABLE t (k TEXT NOT NULL, v INTEGER) STRICT")
    bench.query(made)
    config = {"table": "t", "columns": {"k": "str", "v": "int"}, "extra": "drop"}
    await bench.open(**config, indexes=[["k"]])
    assert bench.query(INDEX_COUNT) == [(1 if serves_plain else 2,)]
    sink = await bench.open(**config, unique=["k"])
    ours = (not serves_plain) + (not serves_unique)
    assert bench.query(INDEX_COUNT) == [(1 + ours,)]
    written = await sink.write([batch_of([{"k": "a", "v": -1}, {"k": "b", "v": 1}, {"k": "a", "v": -2}])])
    assert (written.rejected_counts, written.replaced) == ([0], [1])
    assert bench.query("SELECT k, v FROM t ORDER BY k") == [("a", -2), ("b", 1)]
    await bench.open(**config, unique=["k"], indexes=[["k"]])
    assert bench.query(INDEX_COUNT) == [(1 + ours,)]


async def test_a_column_that_names_a_row_is_required_of_each_record(bench: Any, batch_of: Any) -> None:
    bench.schema(k={"type": "int", "required": False}, v={"type": "int", "required": False})
    sink = await bench.open(table="t", schema="reading", columns={"l": "str"}, unique=["k", "l"])
    records = [{"k": 1, "l": "a"}, {"v": 1, "l": "a"}, {"k": None, "l": "a"}, {"k": 1}, {"k": 1, "l": None}]
    assert (await sink.write([batch_of(records)])).rejected_counts == [4]
    assert [(letter.payload, letter.reason) for letter in bench.office.letters] == [
        (record, "schema:required") for record in records[1:]
    ]
    assert bench.query("SELECT k, l, v FROM t") == [(1, "a", None)]


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
    assert written.rejected_counts == [0]
    assert bench.query("SELECT count(*) FROM victim") == [(0,)]
    quoted = table.replace('"', '""')
    look = f'SELECT "{column}", "select", "{hostile}" FROM "{quoted}"'  # noqa: S608 - the test's own names
    assert bench.query(look) == [(1, "'; DROP TABLE victim; --", 2)]


async def test_a_row_that_is_replaced_has_all_values_of_the_new_one_also_those_that_it_lacks(
    bench: Any, batch_of: Any
) -> None:
    sink = await bench.open(table="t", columns={"k": "str", "v": "int", "w": "int"}, unique=["k"])
    await sink.write([batch_of([{"k": "a", "v": 1, "w": 1, "extra": True}, {"k": "b", "v": 1}])])
    written = await sink.write([batch_of([{"k": "a", "v": 2}])])
    assert written.replaced == [1]
    assert bench.query("SELECT k, v, w, extra FROM t ORDER BY k") == [
        ("a", 2, None, None),
        ("b", 1, None, None),
    ]


async def test_a_row_that_is_replaced_by_a_record_of_fewer_columns_keeps_nothing_in_the_others(
    bench: Any, batch_of: Any
) -> None:
    columns = {"k": "str", "v": "int", "w": "int", "b": "bool"}
    sink = await bench.open(table="t", columns=columns, unique=["k"])
    schema = bench.schema(k="str", v="int")
    assert sink.accepts_typed(schema)
    full = {"v": 1, "w": 1, "b": True, "more": 1}
    await sink.write([batch_of([{"k": "a"} | full, {"k": "b"} | full])])
    written = await sink.write([batch_of([schema.struct(k="a", v=2)], schema=schema)])
    assert written.replaced == [1]
    assert bench.query("SELECT k, v, w, b, extra FROM t ORDER BY k") == [
        ("a", 2, None, None, None),
        ("b", 1, 1, 1, '{"more":1}'),
    ]


async def test_metadata_that_a_step_has_made_something_else_of_is_empty(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"n": "int"}, metadata=True)
    batch = batch_of([{"n": n} for n in range(3)])
    batch.lift()
    batch.records[0] |= {"@peer": 5, "@received_at": "soon"}
    batch.records[1] = {"n": 1}
    await sink.write([batch])
    assert bench.query("SELECT n, peer, received_at FROM t ORDER BY n") == [
        (0, None, None), (1, None, None), (2, "127.0.0.1:5", "1970-01-01T00:00:00.000000Z"),
    ]  # fmt: skip
