"""The columns of Parquet files: every value that is stored is read back as it was."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from streamd.core.batch import Batch
from streamd.core.schema import FieldSettings, FieldType, Schema
from streamd.parquet.arrow_rows import ROW_GROUP_ROWS, ArrowRows

TYPES: list[FieldType] = ["str", "int", "float", "bool", "timestamp", "json", "bytes", "any"]
FIELDS: dict[str, FieldSettings] = {kind: FieldSettings(type=kind, required=False) for kind in TYPES}
INT64 = st.integers(-(2**63), 2**63 - 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.booleans() | INT64 | FINITE | TEXT,
    lambda inner: (
        st.lists(inner | st.none(), max_size=3) | st.dictionaries(TEXT, inner | st.none(), max_size=3)
    ),
    max_leaves=5,
)
TIMES = st.datetimes(timezones=st.just(UTC))
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "str": TEXT, "int": INT64, "float": FINITE, "bool": st.booleans(), "timestamp": TIMES, "json": JSON,
        "bytes": st.binary(), "any": JSON,
    },
)  # fmt: skip


def ask(sql: str) -> list[Any]:
    with duckdb.connect() as connection:
        rows: list[Any] = connection.execute(sql).fetchall()
        return rows


def batch_of(records: list[Any], **more: Any) -> Batch:
    return Batch.of(records, "lab", "main", "peer", 0.0, **more)


def as_text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z".rjust(27, "0")


def read(rows: ArrowRows, batch: Batch) -> list[dict[str, Any]]:
    file = io.BytesIO(rows.encode([rows.of(batch).table], "zstd"))
    found: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return found


def wanted(record: dict[str, Any]) -> dict[str, Any]:
    return {kind: record.get(kind) for kind in TYPES}


def plain(row: dict[str, Any]) -> dict[str, Any]:
    texts = {kind: None if row[kind] is None else json.loads(row[kind]) for kind in ("json", "any")}
    return {**row, **texts}


@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_every_value_is_read_back_as_it_was(records: list[dict[str, Any]]) -> None:
    rows = ArrowRows(FIELDS, add_metadata=False, extra="drop")
    given_records = [
        {**record, "timestamp": as_text(record["timestamp"])} if "timestamp" in record else record
        for record in records
    ]
    assert list(map(plain, read(rows, batch_of(given_records)))) == list(map(wanted, records))


@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_flat_records_are_stored_as_dicts_are(records: list[dict[str, Any]]) -> None:
    schema = Schema("all", FIELDS)
    rows = ArrowRows(FIELDS, add_metadata=True, extra="drop")
    rows.accepts_typed(schema)
    texts = [
        wanted(record) | {"timestamp": as_text(record.get("timestamp", datetime.now(UTC)))}
        for record in records
    ]
    dicts = [{key: value for key, value in record.items() if value is not None} for record in texts]
    typed = Schema("typed", {kind: field for kind, field in FIELDS.items() if kind not in ("json", "any")})
    narrow = ArrowRows(typed.fields, add_metadata=True, extra="drop")
    assert narrow.accepts_typed(typed)
    values = [record[kind] for record in texts for kind in typed.names]
    assert read(narrow, batch_of(values, fields=typed.names)) == read(narrow, batch_of(dicts))


def test_a_typed_field_of_json_is_stored_as_text() -> None:
    fields = {"n": FieldSettings(type="int"), "more": FieldSettings(type="json", required=False)}
    rows = ArrowRows(fields, add_metadata=False, extra="drop")
    assert rows.accepts_typed(Schema("s", fields))
    made = rows.of(batch_of([1, {"a": 1}, 2, None, 3, object()], fields=("n", "more")))
    assert made.table.to_pylist() == [{"n": 1, "more": '{"a":1}'}, {"n": 2, "more": None}]
    assert [(bad.index, bad.reason) for bad in made.rejects] == [(2, "row:json")]


def test_structs_of_a_field_of_any_type_are_not_taken() -> None:
    fields = {"x": FieldSettings(type="any")}
    assert not ArrowRows(fields, add_metadata=False, extra="drop").accepts_typed(Schema("s", fields))


@pytest.mark.parametrize("flat", [False, True])
def test_a_text_without_utf_8_rejects_its_record_alone(flat: bool) -> None:
    fields = {"n": FieldSettings(type="int"), "t": FieldSettings(type="str", required=False)}
    rows = ArrowRows(fields, add_metadata=True, extra="drop")
    assert rows.accepts_typed(Schema("s", fields))
    values = [(1, "a"), (2, "\ud800"), (3, None), (4, "x\udfff")]
    if flat:
        batch = batch_of([value for row in values for value in row], fields=("n", "t"))
    else:
        batch = batch_of([dict(zip(("n", "t"), row, strict=True)) for row in values])
    made = rows.of(batch)
    assert made.table["n"].to_pylist() == [1, 3]
    assert list(made.indexes) == [0, 2]
    assert [(bad.index, bad.reason, bad.detail[:3]) for bad in made.rejects] == [
        (1, "row:surrogate", "t: "), (3, "row:surrogate", "t: "),
    ]  # fmt: skip


def test_only_texts_have_a_dictionary_and_row_groups_are_large() -> None:
    fields = {
        "s.x": FieldSettings(type="str"),
        "n": FieldSettings(type="int"),
        "j": FieldSettings(type="json"),
    }
    rows = ArrowRows(fields, add_metadata=True, extra="json")
    batch = batch_of([{"s.x": "a", "n": 1, "j": "b"}] * (ROW_GROUP_ROWS // 100))
    file = pq.ParquetFile(io.BytesIO(rows.encode([rows.of(batch).table] * 101, "zstd")))
    assert file.metadata.num_row_groups == 2
    group = file.metadata.row_group(0)
    assert group.num_rows == ROW_GROUP_ROWS
    columns = [group.column(place) for place in range(group.num_columns)]
    found = {column.path_in_schema for column in columns if "RLE_DICTIONARY" in column.encodings}
    assert found == {"s.x", "source", "peer"}
    assert {column.compression for column in columns} == {"ZSTD"}


@pytest.mark.parametrize("compression", ["zstd", "snappy", "lz4", "gzip", "none"])
def test_every_compression_is_readable(compression: str, tmp_path: Any) -> None:
    rows = ArrowRows({"t": FieldSettings(type="timestamp")}, add_metadata=False, extra="drop")
    path = tmp_path / "x.parquet"
    path.write_bytes(rows.encode([rows.of(batch_of([{"t": 1.5}])).table], compression))
    assert ask(f"SELECT epoch_ms(t) FROM '{path}'") == [(1500,)]  # noqa: S608


def test_an_empty_batch_has_an_empty_table() -> None:
    nothing: dict[str, FieldSettings] = {}
    for fields in (nothing, FIELDS):
        made = ArrowRows(fields, add_metadata=False, extra="json").of(batch_of([]))
        assert isinstance(made.table, pa.Table)
        assert made.table.num_rows == 0
