"""Puts the arithmetic of floats into the code of an expression, which saves a call for each operator."""

import ast

from streamd.core.expression_syntax import call, load

_SIGNS: dict[str, type[ast.operator]] = {"+": ast.Add, "-": ast.Sub, "*": ast.Mult}
SCOPE = {"type of": type, "float type": float}
"""The global names of the code. No field or function of an expression can have one of them."""


class Inlining(ast.NodeTransformer):
    """Replaces `left + right` of a translated expression by its result if the operands are floats.

    Otherwise, and if the result is not finite, the operator's function decides, as before. So the value and
    the errors of an expression are the same.
    """

    def __init__(self) -> None:
        self._names = 0

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Name(id=sign), args=[left, right]) if sign in _SIGNS:
                return self._inlined(sign, left, right)
        return node

    def _inlined(self, sign: str, left: ast.expr, right: ast.expr) -> ast.expr:
        types: list[ast.expr] = []
        operands: list[ast.expr] = []
        for operand in (left, right):
            if isinstance(operand, ast.Constant):
                if type(operand.value) not in (int, float):
                    return call(sign, [left, right])
                operands.append(operand)
            else:
                held, name = self._held(operand)
                types.append(call("type of", [held]))
                operands.append(load(name))
        if not types:
            return call(sign, [left, right])
        result, name = self._held(ast.BinOp(operands[0], _SIGNS[sign](), operands[1]))
        are_floats = ast.Compare(types[0], [ast.Is()] * len(types), [*types[1:], load("float type")])
        is_finite = ast.Compare(ast.BinOp(result, ast.Sub(), load(name)), [ast.Eq()], [ast.Constant(0.0)])
        return ast.IfExp(ast.BoolOp(ast.And(), [are_floats, is_finite]), load(name), call(sign, operands))

    def _held(self, value: ast.expr) -> tuple[ast.expr, str]:
        """An expression that puts a value into a variable, and the variable."""
        if isinstance(value, ast.Name):
            return value, value.id
        self._names += 1
        name = f"operand_{self._names}"
        return ast.NamedExpr(ast.Name(name, ast.Store()), value), name
