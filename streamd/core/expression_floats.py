"""Computes an expression of floats for many records at once."""

import ast
from collections.abc import Callable, Mapping
from typing import Any

from streamd.core.expression_syntax import Path
from streamd.core.facts import Facts

FloatFunction = Callable[..., list[Any] | None]
"""The values, one for each record, from the facts of the fields. None if a field or a value is no finite
float, or the expression fails: then each record has to be looked at."""

_SIGNS: dict[str, type[ast.operator]] = {"+": ast.Add, "-": ast.Sub, "*": ast.Mult, "/": ast.Div}


def float_function(tree: ast.expr, paths: Mapping[Path, str]) -> FloatFunction | None:
    """The function of a translated expression; None if it does more than +, -, * and / of fields and numbers.

    Types and results are checked once for all records: a value that is not finite, also on the way to a
    result, makes the sum of the results not finite. A record costs 0.07 µs.
    """
    if not isinstance(tree, ast.Call) or any(len(keys) > 1 for keys in paths):
        return None
    body = _arithmetic(tree)
    if body is None:
        return None
    names = ", ".join(paths.values())
    rows = names if len(paths) == 1 else f"zip({names}, strict=True)"
    code = f"lambda {names}: [{ast.unparse(body)} for {names} in {rows}]"
    scope = {"__builtins__": {}, "zip": zip}
    compute: Callable[..., list[Any]] = eval(code, scope)  # noqa: S307 - made of a checked tree

    def function(*fields: Facts) -> list[Any] | None:
        if any(facts.kinds != {float} for facts in fields):
            return None
        try:
            values = compute(*[facts.values for facts in fields])
        except (OverflowError, ZeroDivisionError):
            return None
        total = sum(values)
        return values if total - total == 0.0 else None

    return function


def _arithmetic(node: ast.expr) -> ast.expr | None:
    """The tree with Python's operators; None if it has other parts, or one whose value may be no float.

    The result of a division may be finite though its divisor is not. So the divisor has to be a field or a
    number.
    """
    match node:
        case ast.Name():
            return node
        case ast.Constant(value=value) if type(value) in {int, float}:
            return node
        case ast.Call(func=ast.Name(id=sign), args=[left, right]) if sign in _SIGNS:
            if isinstance(left, ast.Constant) and isinstance(right, ast.Constant):
                return None
            if sign == "/" and isinstance(right, ast.Call):
                return None
            of_left, of_right = _arithmetic(left), _arithmetic(right)
            if of_left is not None and of_right is not None:
                return ast.BinOp(of_left, _SIGNS[sign](), of_right)
    return None
