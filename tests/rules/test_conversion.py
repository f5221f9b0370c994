from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.rules.conversion import converter, number_of


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12.5", 12.5), (" 12 ", 12), ("-3e2", -300.0), (".5", 0.5), ("5.", 5.0), ("+7", 7),
        ("9223372036854775807", 2**63 - 1), ("9223372036854775808", None), ("1e999", None), ("nan", None),
        ("inf", None), ("1_000", None), ("0x10", None), ("", None), ("12,5", None), ("١٢", None),
        ("9" * 5000, None), (12.5, None), (None, None), (True, None),
    ],
)  # fmt: skip
def test_a_number_is_read_from_a_text(text: Any, number: float | None) -> None:
    found = number_of(text)
    assert (found, type(found)) == (number, type(number))


@pytest.mark.parametrize(
    ("type_name", "value", "made"),
    [
        ("int", "12", 12), ("int", 12.0, 12), ("int", "12.0", 12), ("int", 12.5, None), ("int", 1e300, None),
        ("int", 2.0**53, None), ("int", "x", None), ("int", True, 1), ("int", 2**70, None),
        ("int", float("nan"), None),
        ("float", "12", 12.0), ("float", 10**400, None), ("float", True, None), ("float", [], None),
        ("float", float("inf"), None),
        ("str", 12, "12"), ("str", 12.5, "12.5"), ("str", True, "true"), ("str", [], None),
        ("str", float("nan"), None), ("str", 10**400, None),
        ("bool", "Yes", True), ("bool", "off", False), ("bool", 1, True), ("bool", 0.0, False),
        ("bool", 2, None), ("bool", "2", None), ("bool", None, None),
        ("timestamp", "2026-01-31 08:00:00Z", "2026-01-31T08:00:00.000000Z"),
        ("timestamp", 0, "1970-01-01T00:00:00.000000Z"), ("timestamp", True, None), ("timestamp", "x", None),
    ],
)  # fmt: skip
def test_a_value_is_read_as_a_type(type_name: str, value: Any, made: Any) -> None:
    found = converter(type_name)(value)
    assert (found, type(found)) == (made, type(made))


def test_an_epoch_number_has_a_unit() -> None:
    assert converter("timestamp", "ms")(1000) == "1970-01-01T00:00:01.000000Z"


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)


@given(ANY, st.sampled_from(["int", "float", "str", "bool", "timestamp"]))
def test_no_value_raises_and_what_is_made_has_the_type(value: Any, type_name: str) -> None:
    made = converter(type_name)(value)
    wanted = {"int": int, "float": float, "str": str, "bool": bool, "timestamp": str}[type_name]
    assert made is None or type(made) is wanted
