from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.errors import BadData
from streamd.core.schema import FieldSettings, Schema
from streamd.core.text_values import by_look, of_schema, of_type


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("7", "int", 7), (" 7\t", "int", 7), ("+7", "int", 7), ("-07", "int", -7), ("5.0", "int", 5.0),
        ("1e3", "int", 1000.0), ("21.5", "float", 21.5), (".5", "float", 0.5), ("5.", "float", 5.0),
        ("-1E-2", "float", -0.01), ("7", "float", 7), ("true", "bool", True), ("TRUE", "bool", True),
        ("Yes", "bool", True), ("on", "bool", True), ("1", "bool", True), ("no", "bool", False),
        (" off ", "bool", False), ("0", "bool", False), ("f", "bool", False), ("x", "str", "x"),
        (" x ", "str", " x "), ("7", "any", "7"), ("2026-01-31", "timestamp", "2026-01-31"),
        ("[1, null]", "json", [1, None]), ('"x"', "json", "x"), ("null", "json", None),
        ("aGk=", "bytes", "aGk="),
        ("", "int", None), ("", "str", None), ("", "json", None), ("", "bool", None),
    ],
)  # fmt: skip
def test_a_text_says_a_value_of_its_field(text: str, kind: Any, value: object) -> None:
    found = of_type(text, kind)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("x", "int", "schema:type"), ("1_000", "int", "schema:type"), ("0x10", "int", "schema:type"),
        ("٣", "int", "schema:type"), ("1,5", "float", "schema:type"), ("nan", "float", "schema:type"),
        ("inf", "float", "schema:type"), ("1" * 5000, "int", "schema:type"), (" ", "int", "schema:type"),
        ("-", "float", "schema:type"), ("maybe", "bool", "schema:type"), ("2", "bool", "schema:type"),
        ("{", "json", "json:syntax"), ('1,"x":2', "json", "schema:type"),
        ("9223372036854775808", "json", "json:integer"),
        ("NaN", "json", "json:nan"), ("[" * 70 + "]" * 70, "json", "json:depth"),
    ],
)  # fmt: skip
def test_a_text_that_says_none_is_refused(text: str, kind: Any, reason: str) -> None:
    with pytest.raises(BadData) as caught:
        of_type(text, kind)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), ("-7", -7), ("7.0", 7.0), ("1e3", 1000.0), ("0", 0), ("true", True), ("FALSE", False),
        ("", None), ("007", "007"), ("+7", "+7"), (".5", ".5"), ("1e999", "1e999"), ("NaN", "NaN"),
        ("9223372036854775807", 2**63 - 1), ("9223372036854775808", "9223372036854775808"), ("yes", "yes"),
        (" 7", " 7"), ("2026-01-31", "2026-01-31"), ("1" * 5000, "1" * 5000), ("٣", "٣"),
    ],
)  # fmt: skip
def test_the_look_of_a_text_makes_numbers_words_and_nothing_else(text: str, value: object) -> None:
    found = by_look(text)
    assert (found, type(found)) == (value, type(value))


@given(st.text())
def test_no_text_is_a_fault(text: str) -> None:
    by_look(text)
    for kind in ("str", "int", "float", "bool", "timestamp", "json", "bytes", "any"):
        try:
            of_type(text, kind)
        except BadData as bad:
            assert ":" in bad.reason  # noqa: PT017 - other exceptions are what would fail


SCHEMA = Schema(
    "reading",
    {
        "sensor": FieldSettings(type="str"),
        "ts": FieldSettings(type="timestamp", required=False),
        "value": FieldSettings(type="float", required=False),
    },
)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            {"sensor": "7", "ts": "2026-01-31T08:00:00Z", "value": "21", "site": "1"},
            {"sensor": "7", "ts": "2026-01-31T08:00:00.000000Z", "value": 21.0, "site": "1"},
        ),
        ({"sensor": "a", "ts": "", "value": ""}, {"sensor": "a", "ts": None, "value": None}),
        ({"sensor": "a"}, {"sensor": "a", "ts": None, "value": None}),
    ],
)
def test_a_record_of_texts_becomes_one_of_the_schema(record: Any, expected: dict[str, Any]) -> None:
    found = of_schema(record, SCHEMA)
    assert found == expected
    assert type(found["value"]) is type(expected["value"])


@pytest.mark.parametrize(
    ("record", "reason", "field"),
    [
        ({"sensor": "a", "value": "x"}, "schema:type", "value: "),
        ({"sensor": ""}, "schema:required", "sensor: "),
        ({"sensor": "a", "ts": "today"}, "timestamp:syntax", "ts: "),
    ],
)
def test_a_text_that_does_not_fit_is_rejected_with_its_field(record: Any, reason: str, field: str) -> None:
    with pytest.raises(BadData) as refused:
        of_schema(record, SCHEMA)
    assert refused.value.reason == reason
    assert refused.value.detail.startswith(field)
