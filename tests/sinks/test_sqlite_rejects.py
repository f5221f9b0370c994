import json
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.core.batch import Batch
from streamd.core.errors import SinkError
from streamd.core.schema import FieldSettings
from streamd.core.sums import Entry
from streamd.sqlite.rows import Rows
from streamd.sqlite.typed_rows import TypedRows

ALL_TYPES = {
    "t": "str", "i": "int", "f": "float", "b": "bool",
    "at": "timestamp", "j": "json", "raw": "bytes", "x": "any",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("int", 2**63, "schema:range"),
        ("int", True, "schema:type"),
        ("int", 1.5, "schema:type"),
        ("int", "1", "schema:type"),
        ("int", math.nan, "schema:type"),
        ("int", 2.0**53, "schema:range"),
        ("int", 1e300, "schema:range"),
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
    assert written.rejected_counts == [1]
    assert [letter.reason for letter in bench.office.letters] == [reason]
    assert bench.query("SELECT n FROM t") == [(1,), (3,)]


@pytest.mark.parametrize("column", [{"type": "int", "from": "v"}, {"type": "int", "from": "deep.v"}])
@pytest.mark.parametrize("kind", ["int", "float"])
async def test_the_bounds_of_a_number_hold_at_both_ends(
    bench: Any, batch_of: Any, kind: str, column: dict[str, Any]
) -> None:
    sink = await bench.open(table="t", columns={"v": column | {"type": kind, "ge": -3, "le": 9}})
    values = [-4, -3, 0, 9, 10] if kind == "int" else [-3.001, -3.0, 0.5, 9.0, 9.001]
    records = [{"v": value} if column["from"] == "v" else {"deep": {"v": value}} for value in values]
    for batch in [batch_of(records), *(batch_of([record]) for record in records)]:
        await sink.write([batch])
    assert [letter.payload for letter in bench.office.letters] == [records[0], records[-1]] * 2
    assert {letter.reason for letter in bench.office.letters} == {"schema:range"}
    assert bench.query("SELECT v FROM t ORDER BY rowid") == [(value,) for value in values[1:-1] * 2]


async def test_a_whole_number_in_float_notation_is_stored_as_an_integer(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(
        table="t", columns={"n": "int", "deep": {"type": "int", "from": "a.b"}, "any": "any"}
    )
    records = [{"n": 1}, {"n": 5.0, "a": {"b": 1e3}, "any": 5.0}, {"n": -0.0}]
    assert (await sink.write([batch_of(records)])).rejected_counts == [0]
    assert bench.query("SELECT n, deep, any, typeof(n), typeof(deep), typeof(any) FROM t") == [
        (1, None, None, "integer", "null", "null"),
        (5, 1000, 5.0, "integer", "integer", "real"),
        (0, None, None, "integer", "null", "null"),
    ]


async def test_a_required_column_refuses_missing_and_null(bench: Any, batch_of: Any) -> None:
    bench.schema(a="int")
    sink = await bench.open(table="t", schema="reading")
    written = await sink.write([batch_of([{"a": 1}, {}, {"a": None}])])
    assert written.rejected_counts == [2]
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
    assert written.rejected_counts == [1]
    assert [letter.reason for letter in bench.office.letters] == [reason]
    assert bench.query("SELECT record FROM records") == [('{"n":null}',), ('{"n":"null"}',)]


async def test_a_record_that_holds_itself_is_rejected(bench: Any, batch_of: Any) -> None:
    record: dict[str, Any] = {}
    record["self"] = record
    typed = await bench.open(table="t", columns={"a": "int"})
    for sink in (await bench.open(), typed):
        assert (await sink.write([batch_of([{"a": 1}, record])])).rejected_counts == [1]
    assert [letter.reason for letter in bench.office.letters] == ["row:json", "row:json"]


@pytest.mark.parametrize("place", [0, 1, 511, 512, 998, 999])
async def test_a_poison_row_anywhere_is_the_only_one_refused(bench: Any, batch_of: Any, place: int) -> None:
    sink = await bench.open(table="t", columns={"seq": "int", "v": "str"})
    records = [{"seq": i, "v": "ok"} for i in range(1000)]
    records[place]["v"] = "\ud800"
    written = await sink.write([batch_of(records[:600]), batch_of(records[600:], pipeline="other")])
    assert written.rejected_counts == ([1, 0] if place < 600 else [0, 1])
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
    assert written.rejected_counts == [4]
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
    assert (await sink.write([batch_of(structs, schema=schema)])).rejected_counts == [1]
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

    class Ledger:
        def rows(self, entries: Sequence[Entry]) -> tuple[str, list[tuple[Any, ...]]]:
            raise SinkError("io", f"{len(entries)} entries")

        def committed(self, entries: Sequence[Entry]) -> None:
            raise AssertionError(entries)

    database = await bench.databases.acquire(sink.path)
    database.ledger = Ledger()
    with pytest.raises(SinkError, match="entries"):
        await sink.write(batches)
    database.ledger = None
    assert len(bench.office.letters) == 2
    assert (await sink.write(batches)).rejected_counts == [2]
    assert len(bench.office.letters) == 2
    await bench.databases.release(database)


async def test_a_table_dropped_under_the_sink_is_no_fault_of_the_rows(bench: Any, batch_of: Any) -> None:
    sink = await bench.open(table="t", columns={"a": "int"})
    bench.query("DROP TABLE t")
    with pytest.raises(SinkError, match="schema"):
        await sink.write([batch_of([{"a": 1}])])
    assert bench.office.letters == []


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
        return maker.of(Batch.of(records, "lab", "readings", "p", 0.0))

    def whole(rows: Rows) -> list[dict[str, Any]]:
        """Each row with all columns. Rows without the column `extra` have NULL there."""
        return [{"extra": None, **dict(zip(rows.columns, row, strict=True))} for row in rows.rows]

    at_once = made(maker, records)
    one_by_one = [made(exact, [record]) for record in records]
    stored = whole(at_once)
    assert stored == [row for rows in one_by_one for row in whole(rows)]
    assert list(at_once.indexes) == [index for index, rows in enumerate(one_by_one) if rows.rows]
    assert sorted((reject.index, reject.reason) for reject in at_once.rejects) == [
        (index, reject.reason) for index, rows in enumerate(one_by_one) for reject in rows.rejects
    ]
    for row in stored:
        assert set(row) == set(maker.columns)
        assert row["extra"] is None or set(json.loads(row["extra"])) == {"z"}


async def test_nothing_is_held_of_a_record_whose_letter_is_kept(bench: Any, batch_of: Any) -> None:
    bench.schema(value="float")
    sink = await bench.open(table="t", schema="reading")
    assert (await sink.write([batch_of([{"value": "none"}])])).rejected_counts == [1]
    assert len(bench.office.letters) == 1
    assert sink._writer._letters._kept == {}


@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("columns", [{}, {"n": "float"}], ids=["catch-all", "typed"])
async def test_of_a_mixed_batch_each_row_and_each_dead_letter_has_its_own_peer_and_time(
    bench: Any, lifted: bool, columns: dict[str, Any]
) -> None:
    sink = bench.sink(columns=columns, metadata=True) if columns else bench.sink()
    await sink.open()
    peers = [f"10.0.0.{n}:{n}" for n in range(5)]
    times = [1e9 + n for n in range(5)]
    bad = float("nan")
    records = [{"n": n} for n in (0.0, bad, 2.0, bad, 4.0)]
    batch = Batch.of(records, "lab", "main", peers, times)
    if lifted:
        batch.lift()
    written = await sink.write([batch])
    assert written.rejected_counts == [2]
    rows = bench.query("SELECT peer, received_at FROM records ORDER BY rowid")
    assert rows == [(peers[n], f"2001-09-09T01:46:{40 + n}.000000Z") for n in (0, 2, 4)]
    assert [(x.peer, x.received_at, x.source, x.pipeline, x.sink) for x in bench.office.letters] == [
        (peers[n], times[n], "lab", "main", "store") for n in (1, 3)
    ]
    await sink.close()
