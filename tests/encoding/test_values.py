import math
import sys
from typing import Any

import pytest

from streamd.core.errors import BadData
from streamd.encoding.values import any_value, json_text


def test_a_nan_is_refused_with_its_place() -> None:
    assert json_text({"a": None, "b": [1.5]}) == '{"a":null,"b":[1.5]}'
    for value, detail in (
        (float("nan"), "NaN or infinity"),
        ({"a": {"b": [0, float("inf")]}}, "NaN or infinity at a.b[1]"),
        ([float("-inf")], "NaN or infinity at [0]"),
    ):
        with pytest.raises(BadData) as refused:
            json_text(value)
        assert (refused.value.reason, refused.value.detail) == ("row:not_finite", detail)


@pytest.mark.parametrize(
    "value",
    ["", "text", b"\xff", True, False, 0, -(2**63), 2**63 - 1, 0.0, sys.float_info.max, -sys.float_info.max],
)
def test_a_plain_value_that_sqlite_can_hold_stays_as_it_is(value: Any) -> None:
    stored = any_value(value)
    assert (stored, type(stored)) == (value, type(value))


@pytest.mark.parametrize(("value", "text"), [({"a": [1]}, '{"a":[1]}'), ([], "[]"), ((1, "x"), '[1,"x"]')])
def test_a_value_with_parts_is_stored_as_json(value: Any, text: str) -> None:
    assert any_value(value) == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**63, "row:range"),
        (-(2**63) - 1, "row:range"),
        (math.nan, "row:not_finite"),
        (math.inf, "row:not_finite"),
        (-math.inf, "row:not_finite"),
        ([math.inf], "row:not_finite"),
        ({1, 2}, "row:type"),
        (object(), "row:type"),
        ({"a": object()}, "row:json"),
    ],
)
def test_a_value_that_sqlite_cannot_hold_is_refused_with_its_reason(value: Any, reason: str) -> None:
    with pytest.raises(BadData) as refused:
        any_value(value)
    assert refused.value.reason == reason
