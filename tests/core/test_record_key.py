import json
from contextlib import suppress
from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from streamd.core.batch import Batch
from streamd.core.columns import FlatColumns
from streamd.core.errors import BadData, ConfigError
from streamd.core.record_key import (
    DIGEST_BYTES,
    MAX_EXACT_BYTES,
    KeyTexts,
    RecordKey,
    key_of_whole,
    keys_of_whole,
    plain_names,
)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=9)
VALUES = st.recursive(
    SCALARS, lambda one: st.lists(one, max_size=2) | st.dictionaries(st.text(max_size=3), one, max_size=2)
)


def has_value(values: list[Any]) -> bool:
    return any(not (value is None or (isinstance(value, float) and not isfinite(value))) for value in values)


def of(*texts: str, **options: Any) -> RecordKey:
    return RecordKey(texts, None, **options)


def test_values_that_differ_as_json_have_different_keys() -> None:
    key = of("a")
    values: list[Any] = ["1", 1, 1.0, True, "true", [1], {"1": 1}, "", "é", "\ud800", 2**70, b"1"]
    assert len({key.of({"a": value}) for value in values}) == len(values)


def test_no_separator_inside_a_value_makes_two_keys_equal() -> None:
    key = of("a", "b")
    pairs = [("x,y", "z"), ("x", "y,z"), ('x","y', "z"), ("x", None), (None, "x"), ("x", "null")]
    assert len({key.of({"a": a, "b": b}) for a, b in pairs}) == len(pairs)


def test_the_order_of_the_keys_of_an_object_makes_no_difference() -> None:
    assert of("a").of({"a": {"x": 1, "y": 2}}) == of("a").of({"a": {"y": 2, "x": 1}})
    assert key_of_whole({"x": 1, "y": 2}) == key_of_whole({"y": 2, "x": 1})


def test_paths_metadata_and_functions_are_parts_of_a_key() -> None:
    key = of("payload.id", 'meta("peer")', "field('a-b')", "lower(name)")
    record = {"payload": {"id": 7}, "@peer": "10.0.0.7:9", "a-b": True, "name": "ADA"}
    assert key.names == ("payload.id", "peer", "a-b", "lower(name)")
    assert key.values(key.of(record)) == {
        "payload.id": 7, "peer": "10.0.0.7:9", "a-b": True, "lower(name)": "ada",
    }  # fmt: skip


def test_a_key_without_any_value_is_bad_data() -> None:
    for record in ({}, {"a": None, "b": None}, {"a": float("nan")}):
        with pytest.raises(BadData, match="key:missing: a, b"):
            of("a", "b").of(record)
    assert of("a", "b").of({"a": 1}) == b"[1,null]"


@pytest.mark.parametrize(
    "value", [10**5000, {1: 1, "a": 1}, object()], ids=["a long number", "mixed keys", "an object"]
)
def test_a_value_that_json_cannot_express_is_bad_data(value: Any) -> None:
    with pytest.raises(BadData, match="key:type"):
        of("a").of({"a": value})


def test_a_value_that_is_nested_too_deep_is_bad_data() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BadData, match="key:type"):
        of("a").of({"a": deep})


def test_a_long_key_is_a_digest_or_bad_data() -> None:
    longest = "x" * MAX_EXACT_BYTES
    assert of("a").of({"a": longest}) == longest
    digest = of("a").of({"a": longest + "x"})
    assert len(digest) == DIGEST_BYTES
    assert digest != of("a").of({"a": longest + "y"})
    with pytest.raises(BadData, match="key:long: the key has 133 bytes"):
        of("a", exact=True).of({"a": longest + "x"})


def test_an_unknown_field_is_refused_with_the_place_of_the_expression() -> None:
    with pytest.raises(ConfigError, match=r"there is no field 'senser'.*sensor") as refused:
        RecordKey(["sensor", "senser"], frozenset({"sensor"}))
    assert refused.value.keys == ("key", 1)


@given(values=st.lists(VALUES, min_size=1, max_size=3))
def test_every_record_has_a_key_or_is_bad_data_and_keys_have_a_bounded_size(values: list[Any]) -> None:
    names = [f"f{n}" for n in range(len(values))]
    record = dict(zip(names, values, strict=True))
    if not has_value(values):
        with pytest.raises(BadData, match="key:missing"):
            RecordKey(names, None).of(record)
        return
    key = RecordKey(names, None).of(record)
    assert len(key) <= MAX_EXACT_BYTES
    assert key == RecordKey(names, None).of(json.loads(json.dumps(record)))
    assert len(key_of_whole(record)) == DIGEST_BYTES


@given(values=st.lists(SCALARS, min_size=1, max_size=3).filter(has_value))
def test_an_exact_key_gives_its_values_back(values: list[Any]) -> None:
    names = [f"f{n}" for n in range(len(values))]
    key = RecordKey(names, None, exact=True)
    record = dict(zip(names, values, strict=True))
    found = None
    with suppress(BadData):  # escapes of odd characters may make it too long
        found = key.of(record)
    if found is None:
        return
    assert key.of_values(values) == found
    as_json = {
        name: None if isinstance(value, float) and not isfinite(value) else json.loads(json.dumps(value))
        for name, value in record.items()
    }
    assert key.values(found) == as_json


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES),
    st.sampled_from([("a",), ("a", "b"), ("b", "c")]),
)
def test_a_field_has_the_same_key_however_it_is_written(
    record: dict[str, Any], names: tuple[str, ...]
) -> None:
    def key(*texts: str) -> Any:
        try:
            return of(*texts).of(record)
        except BadData as bad:
            return bad.reason

    assert key(*names) == key(*(f'field("{name}")' for name in names))


def test_a_word_of_the_language_is_no_name_of_a_field() -> None:
    assert plain_names(["a", "b1", "é", 'meta("peer")']) == ("a", "b1", "é", "@peer")
    for text in ("true", "None", "NULL", "a.b", "a + b", " a", "lower(a)", "1"):
        assert plain_names(["a", text]) == ()


@pytest.mark.parametrize("text", ["'device'", '"device"', "5", "True", "'a' + 'b'", "lower('A')", "'a b'"])
def test_a_part_that_names_no_field_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="is the same for all records, as it names no field") as refused:
        TypeAdapter(KeyTexts).validate_python(["site", text])
    assert ("write device" in str(refused.value)) == ("device" in text)


@pytest.mark.parametrize(
    "text", ["device", "a.b", 'meta("peer")', "lower(name)", "field('a-b')", "'x' + name"]
)
def test_a_part_that_names_a_field_is_taken(text: str) -> None:
    assert TypeAdapter(KeyTexts).validate_python([text]) == [text]


@given(
    st.lists(st.tuples(VALUES, VALUES, st.text(max_size=200)), min_size=1, max_size=4),
    st.sampled_from([("a",), ("c",), ("a", "b"), ("a", "c")]),
    st.booleans(),
)
def test_columns_have_the_keys_of_their_records(rows: list[Any], names: tuple[str, ...], exact: bool) -> None:
    records = [dict(zip("abc", row, strict=True)) for row in rows]
    key = of(*names, exact=exact)
    try:
        keys: list[Any] | None = [key.of(record) for record in records]
    except BadData:
        keys = None
    assert key.of_columns([[record[name] for record in records] for name in names]) == keys


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=3))
def test_whole_records_have_the_same_keys_as_columns(rows: list[Any]) -> None:
    batch = Batch.of([value for row in rows for value in row], "s", "p", "h:1", 5.0, fields=("b", "a"))
    columns = FlatColumns(batch).with_columns({"c": [1] * len(rows)})
    try:
        keys: list[Any] | None = list(map(key_of_whole, columns.records()))
    except BadData:
        keys = None
    assert keys_of_whole(columns) == keys
