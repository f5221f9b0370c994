"""Schemas: the struct of the fast lane, its slow sibling `check`, and what may be declared."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from streamd.core.errors import BadData
from streamd.core.facts import Facts
from streamd.core.schema import FieldSettings, Schema, SchemaField

FIELDS: TypeAdapter[dict[str, FieldSettings]] = TypeAdapter(dict[str, SchemaField])


def make(**fields: Any) -> Schema:
    return Schema("reading", FIELDS.validate_python(fields))


READING = make(
    ts="timestamp",
    sensor="str",
    seq={"type": "int", "required": False},
    value={"type": "float", "ge": -50, "le": 150},
    ok={"type": "bool", "required": False},
    blob={"type": "bytes", "required": False},
    tags={"type": "json", "required": False},
    other={"type": "any", "required": False},
)
GOOD = {"ts": 0, "sensor": "s", "value": 1}


def decode(schema: Schema, record: dict[str, Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(record), type=schema.struct)


def test_a_field_is_a_type_or_a_table() -> None:
    fields = FIELDS.validate_python({"a": "int", "b": {"type": "int", "required": False, "ge": 0}})
    assert fields["a"] == FieldSettings(type="int")
    assert (fields["b"].required, fields["b"].ge) == (False, 0)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"type": "str", "ge": 1}, "'ge' is for int and float, not for str"),
        ({"type": "timestamp", "le": 1}, "'le' is for int and float"),
        ({"type": "int", "unit": "ms"}, "'unit' is for timestamp"),
        ({"type": "int", "timezone": "UTC"}, "'timezone' is for timestamp"),
        ({"type": "int", "ge": 0.5}, "whole number"),
        ({"type": "int", "le": 2**63}, "64 bits"),
        ({"type": "float", "ge": math.nan}, "finite"),
        ({"type": "float", "ge": 2, "le": 1}, "allow no value"),
        ({"type": "timestamp", "timezone": "Mars/Olympus"}, "no timezone 'Mars/Olympus'"),
        ({"type": "timestamp", "timezone": "../../etc/passwd"}, "no timezone"),
        ({"type": "timestamp", "unit": "h"}, "unit"),
        ({"type": "int", "min": 1}, "min"),
        ("integer", "'str', 'int'"),
        (5, "dictionary"),
    ],
)
def test_a_field_that_makes_no_sense_is_refused_in_words(field: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FIELDS.validate_python({"f": field})


def test_a_schema_without_fields_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Schema("empty", {})


@pytest.mark.parametrize("name", ["@source", "@", 'a"b', "a\\b", "a\nb", "a\0b", "a\ud800"])
def test_names_that_cannot_be_matched_or_would_be_metadata_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be named"):
        make(**{name: "int"})


ODD_NAMES = [
    "user-agent",
    "class",
    "",
    " ",
    "__init__",
    "__class__",
    "_",
    "_0",
    "_1",
    "f0",
    "self",
    "None",
    "数据",
]


def test_odd_names_work_beside_one_another() -> None:
    schema = make(**dict.fromkeys(ODD_NAMES, "int"))
    record = {name: place for place, name in enumerate(ODD_NAMES)}
    struct = decode(schema, record)
    assert schema.to_dict(struct) == schema.check(record) == record
    assert schema.names == tuple(ODD_NAMES)
    assert schema.struct.__struct_fields__ == schema.attributes
    assert msgspec.structs.astuple(struct) == tuple(range(len(ODD_NAMES)))


@given(st.dictionaries(st.text(max_size=12), st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_any_accepted_name_decodes_and_comes_back(record: dict[str, int]) -> None:
    try:
        schema = make(**dict.fromkeys(record, "int"))
    except ValueError:
        return
    assert schema.to_dict(decode(schema, record)) == record


def test_a_thousand_fields_keep_their_order() -> None:
    names = [f"f{place}" for place in range(1000)]
    schema = make(**dict.fromkeys(names, "int"))
    record = {name: place for place, name in enumerate(reversed(names))}
    assert list(schema.to_dict(decode(schema, record))) == names


def test_required_fields_may_follow_optional_ones() -> None:
    schema = make(a={"type": "int", "required": False}, b="int")
    assert schema.to_dict(decode(schema, {"b": 1})) == {"a": None, "b": 1}


def test_the_struct_is_not_seen_by_the_garbage_collector() -> None:
    assert not READING.struct.__struct_config__.gc


def test_missing_and_null_are_the_same_for_optional_fields() -> None:
    missing = READING.check(GOOD)
    assert READING.check(GOOD | {"seq": None}) == missing
    assert missing["seq"] is None
    assert list(missing) == list(READING.names)


def test_undeclared_fields_are_kept_as_they_are() -> None:
    assert READING.check(GOOD | {"x": {"y": [1]}})["x"] == {"y": [1]}


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        ({"sensor": None}, "schema:required", "sensor: null"),
        ({"value": "1"}, "schema:type", "value: expected float, got str"),
        ({"value": True}, "schema:type", "value: expected float, got bool"),
        ({"value": 150.5}, "schema:range", "value: 150.5 is above 150"),
        ({"value": -51}, "schema:range", "value: -51.0 is below -50"),
        ({"value": math.nan}, "schema:range", "value: not a finite number"),
        ({"value": 10**400}, "schema:range", "value: not a finite number"),
        ({"seq": 5.5}, "schema:type", "seq: expected int, got 5.5"),
        ({"seq": -1e-300}, "schema:type", "seq: expected int, got -1e-300"),
        ({"seq": math.nan}, "schema:type", "seq: expected int, got nan"),
        ({"seq": math.inf}, "schema:type", "seq: expected int, got inf"),
        ({"seq": 1e300}, "schema:range", "seq: 1e+300 has a point or exponent and is not exact from 2^53 on"),
        (
            {"seq": -9007199254740993.0},
            "schema:range",
            "seq: -9007199254740992.0 has a point or exponent and is not exact from 2^53 on",
        ),
        ({"seq": "5"}, "schema:type", "seq: expected int, got str"),
        ({"seq": True}, "schema:type", "seq: expected int, got bool"),
        ({"seq": 2**63}, "schema:range", "seq: an integer beyond 64 bits"),
        ({"ok": 1}, "schema:type", "ok: expected bool, got int"),
        ({"sensor": 5}, "schema:type", "sensor: expected str, got int"),
        ({"blob": "no base64"}, "schema:type", "blob: expected bytes as base64 text"),
        ({"blob": "é"}, "schema:type", "blob: expected bytes as base64 text"),
        ({"blob": 5}, "schema:type", "blob: expected bytes as base64 text, got int"),
        ({"ts": "2026-02-30T00:00:00Z"}, "timestamp:range", "ts: no such time: '2026-02-30T00:00:00Z'"),
        ({"ts": []}, "schema:type", "ts: expected timestamp, got list"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_field_named(
    change: dict[str, Any], reason: str, detail: str
) -> None:
    with pytest.raises(BadData) as caught:
        READING.check(GOOD | change)
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5.0, 5), (1e3, 1000), (-0.0, 0), (-7.0, -7), (2.0**53 - 1, 2**53 - 1), (-(2.0**53) + 1, 1 - 2**53)],
)
def test_a_whole_number_in_float_notation_is_an_int(value: float, expected: int) -> None:
    found = READING.check(GOOD | {"seq": value})["seq"]
    assert (found, type(found)) == (expected, int)


def test_the_bounds_of_an_int_hold_for_float_notation_too() -> None:
    schema = make(n={"type": "int", "ge": 0, "le": 10})
    assert schema.check({"n": 10.0}) == {"n": 10}
    for value in (11.0, -1.0):
        with pytest.raises(BadData, match="schema:range"):
            schema.check({"n": value})


@pytest.mark.parametrize("kind", ["int", "float"])
def test_the_lowest_and_the_highest_value_are_accepted(kind: str) -> None:
    schema = make(n={"type": kind, "ge": -2, "le": 3})
    for value in (-2, 3):
        assert schema.check({"n": value}) == schema.check({"n": float(value)}) == {"n": value}
        assert schema.to_dict(decode(schema, {"n": value})) == {"n": value}


def test_a_missing_required_field_is_named() -> None:
    with pytest.raises(BadData) as caught:
        READING.check({"ts": 0, "sensor": "s"})
    assert (caught.value.reason, caught.value.detail) == ("schema:required", "value: missing")


def test_check_leaves_the_record_alone() -> None:
    record = dict(GOOD)
    READING.check(record)
    assert record == GOOD


def test_finish_normalises_in_place_and_names_what_failed_once() -> None:
    schema = make(a="timestamp", b={"type": "timestamp", "required": False, "unit": "ms"})
    structs = [
        decode(schema, record)
        for record in (
            {"a": "2026-01-31T09:00:00+01:00", "b": 1500},
            {"a": "never", "b": "never"},
            {"a": 0},
            {"a": 0, "b": 1e300},
            {"a": "2026-01-31T08:00:00.000000Z"},
            {"a": 1.5, "b": None},
        )
    ]
    assert schema.finish(structs) == [
        (1, "timestamp:syntax", "a: not an RFC 3339 or ISO 8601 time: 'never'"),
        (3, "timestamp:range", "b: outside the years 0001 to 9999"),
    ]
    assert schema.to_dict(structs[0]) == {
        "a": "2026-01-31T08:00:00.000000Z",
        "b": "1970-01-01T00:00:01.500000Z",
    }
    assert schema.to_dict(structs[5]) == {"a": "1970-01-01T00:00:01.500000Z", "b": None}
    assert schema.finish([]) == []


def test_the_timezone_of_the_field_reads_naive_times() -> None:
    schema = make(t={"type": "timestamp", "timezone": "Asia/Shanghai"})
    struct = decode(schema, {"t": "2026-01-31T08:00:00"})
    assert schema.finish([struct] * 9) == []
    assert schema.to_dict(struct) == {"t": "2026-01-31T00:00:00.000000Z"}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["2026-01-31T08:00:00Z", "2026-01-31T08:00:00", "aGk=", "aGk", "a" * 4, "=", "aG k="]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(READING.names, VALUES)))
def test_the_struct_and_check_agree_on_every_record(record: dict[str, Any]) -> None:
    """They may differ only where the record holds an integer no decoder lets reach `check`."""
    try:
        slow: dict[str, Any] | None = READING.check(record)
    except BadData:
        slow = None
    try:
        struct = decode(READING, record)
        fast = None if READING.finish([struct]) else READING.to_dict(struct)
    except ValueError:
        fast = None
    open_values = (record.get("tags"), record.get("other"))
    if any(type(value) is int and not -(2**63) <= value < 2**63 for value in open_values):
        return
    assert fast == slow


FIT_FIELDS = [
    FieldSettings(type=kind, required=required, **bounds)
    for kind in ("str", "int", "float", "bool", "timestamp", "bytes", "json", "any")
    for required in (True, False)
    for bounds in ([{}, {"ge": -3, "le": 5}] if kind in ("int", "float") else [{}])
]


@given(st.sampled_from(FIT_FIELDS), st.lists(VALUES | st.floats() | st.text(), max_size=3))
def test_values_that_fit_would_be_left_as_they_are(field: FieldSettings, values: list[Any]) -> None:
    schema = Schema("s", {"v": field})
    if schema.fits("v", Facts(values)):
        for value in values:
            assert schema.check({"v": value})["v"] is value
            if isinstance(value, str):
                value.encode()  # no half of a surrogate pair


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ({"type": "str"}, ["", "é"]),
        ({"type": "int"}, [2**63 - 1, -(2**63)]),
        ({"type": "int", "ge": 1, "le": 2}, [1, 2]),
        ({"type": "float"}, [1.5, -0.0]),
        ({"type": "float", "ge": 0.5}, [0.5]),
        ({"type": "bool"}, [True, False]),
        ({"type": "float", "required": False}, [None, 1.5]),
        ({"type": "timestamp", "required": False}, [None]),
        ({"type": "any"}, []),
    ],
)
def test_usual_values_fit(field: Any, values: list[Any]) -> None:
    assert Schema("s", {"v": FieldSettings(**field)}).fits("v", Facts(values))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("str", "\ud800"),
        ("str", None),
        ("int", True),
        ("int", 2**63),
        ("float", 1),
        ("float", math.nan),
        ("any", 1),
    ],
)
def test_other_values_do_not_fit(field: Any, value: Any) -> None:
    assert not Schema("s", {"v": FieldSettings(type=field)}).fits("v", Facts([value]))
