import ast
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.errors import BadData
from streamd.core.expression import Expression
from streamd.core.expression_functions import ARITHMETIC
from streamd.core.expression_inlining import Inlining
from streamd.core.expression_syntax import Translation, parse

VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([1])


@pytest.mark.parametrize("sign", ["+", "-", "*"])
@given(
    left=VALUES | st.sampled_from([1e308, -0.0, math.inf, 2**63 - 1]),
    right=VALUES | st.sampled_from([1e308, -0.0, math.nan, -(2**63)]),
    data=st.data(),
)
def test_arithmetic_in_the_code_is_that_of_the_functions(sign: str, left: Any, right: Any, data: Any) -> None:
    def outcome(make: Any) -> str:
        try:
            return repr(make())
        except BadData as bad:
            return f"{bad.reason}: {bad.detail}"

    function = ARITHMETIC[sign]
    record = {"a": left, "b": right}
    number = data.draw(st.sampled_from([0, 1, -3, 2**53 + 1, 2**63 - 1, 0.5, -0.0, 1.7e308]))
    cases = {
        f"a {sign} b": lambda: function(left, right),
        f"a {sign} {number!r}": lambda: function(left, number),
        f"{number!r} {sign} b": lambda: function(number, right),
        f"(a {sign} b) {sign} (b {sign} {number!r})": lambda: function(
            function(left, right), function(right, number)
        ),
        f"{number!r} {sign} {number!r}": lambda: function(number, number),
    }
    for text, expected in cases.items():
        assert outcome(lambda text=text: Expression(text)(record)) == outcome(expected)


@pytest.mark.parametrize(
    ("text", "inlined"),
    [
        ("a + b", 1),
        ("a * 1.8 + 32", 2),
        ("-a - 1", 1),
        ("1 + 2", 0),
        ("a + 'x'", 0),
        ("a / 2", 0),
        ("a + True", 0),
    ],
)
def test_sums_differences_and_products_with_a_field_are_inlined(text: str, inlined: int) -> None:
    tree = Inlining().visit(Translation(text, None).visit(parse(text)))
    assert sum(isinstance(node, ast.IfExp) for node in ast.walk(tree)) == inlined
