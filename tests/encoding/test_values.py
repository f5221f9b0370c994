import pytest

from streamd.core.errors import BadData
from streamd.encoding.values import json_text


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
