"""What all values of a field have in common is what each of them has."""

from math import inf, isfinite, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.core.facts import Facts

VALUES = st.lists(st.floats() | st.sampled_from([None, True, 1, 1.0, "x"])) | st.lists(
    st.sampled_from([0.0, -0.0, 1e308, nan]), max_size=3
)


@given(VALUES)
@settings(max_examples=200)
def test_facts_are_true_of_each_value(values: list[Any]) -> None:
    facts = Facts(values)
    assert facts.kinds == {type(value) for value in values}
    if facts.are_finite:
        assert all(type(value) is float and isfinite(value) for value in values)
    assert all(
        any(value is one or (value == one and type(value) is type(one)) for one in facts.some)
        for value in values
    )


@pytest.mark.parametrize(
    ("values", "are_finite"),
    [([0.5, 2.0], True), ([inf], False), ([inf, -inf], False), ([nan, nan], False), ([1, 2], False),
     ([1.0, 2], False), ([], False)],
)  # fmt: skip
def test_only_floats_are_seen_to_be_finite(values: list[Any], *, are_finite: bool) -> None:
    assert Facts(values).are_finite is are_finite


@pytest.mark.parametrize(
    ("values", "some"),
    [(["F"] * 3, ["F"]), ([1, True, 1], [1, True, 1]), ([1, 2, 1], [1, 2, 1]), ([], [])],
)
def test_a_constant_is_looked_at_once(values: list[Any], some: list[Any]) -> None:
    assert Facts(values).some == some
