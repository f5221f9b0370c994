"""Expressions of floats on columns, against the same expressions on each record."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.columns import RecordColumns
from streamd.core.errors import BadData
from streamd.core.expression import Expression
from streamd.core.expression_floats import float_function
from streamd.core.expression_syntax import Translation, parse
from streamd.core.facts import Facts

ODD = st.sampled_from([0.0, -0.0, 1e308, -1e308, float("inf"), float("nan"), 5e-324])
FLOATS = st.floats(-1e3, 1e3) | ODD
OTHERS = st.sampled_from([None, 3, True, "x", 10**400])
AT_ONCE = [
    "a * 1.8 + 32", "a - b", "b / a", "a / 4 - 2 * b", "(a + b) * (a - b)", "0.5 * a", "a * 10000000000",
]  # fmt: skip
ONE_BY_ONE = [
    "a", "2 + 3", "a + 2 * 3", "a / (b * 1e308)", "-a", "a % 2", "a // 2", "a + b.c", "max(a, b) + 1",
    "a + True", "'x' + a", "(a > 1) + 1", "coalesce(a, 0.0) * 2",
]  # fmt: skip


def function_of(text: str) -> Any:
    translation = Translation(text, None)
    return float_function(translation.visit(parse(text)), translation.paths)


@pytest.mark.parametrize("text", AT_ONCE)
@given(rows=st.lists(st.tuples(FLOATS | OTHERS, FLOATS), max_size=5))
def test_the_values_are_those_of_each_record(text: str, rows: list[tuple[Any, float]]) -> None:
    expression = Expression(text)
    records = [{"a": a, "b": b} for a, b in rows]
    expected: list[Any] | None = []
    try:
        expected = [expression.evaluate(record) for record in records]
    except BadData:
        expected = None
    assert repr(expression.values(RecordColumns(records))) == repr(expected)


@pytest.mark.parametrize("text", AT_ONCE)
def test_arithmetic_of_finite_floats_is_done_at_once(text: str) -> None:
    columns = {"a": [1.5, -2.0], "b": [4.0, 0.25]}
    names = sorted({name for name in columns if name in text}, key=text.index)
    found = function_of(text)(*[Facts(columns[name]) for name in names])
    assert found == [eval(text, {"a": a, "b": b}) for a, b in zip(*columns.values(), strict=True)]  # noqa: S307


@pytest.mark.parametrize("text", ONE_BY_ONE)
def test_other_expressions_are_not(text: str) -> None:
    assert function_of(text) is None


@pytest.mark.parametrize("values", [[1.0, None], [1.0, 2], [True], ["x"], [1e308, 2.0], [float("nan")], []])
def test_other_values_are_not(values: list[Any]) -> None:
    assert function_of("a * 10")(Facts(values)) is None
