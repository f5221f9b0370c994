"""Expressions: conditions and values written in the configuration, compiled once.

`expression_syntax` holds the grammar, `expression_functions` what operators and functions do. The text is
never run: what is compiled is a tree of our own making, with no builtins in its reach.
"""

import ast
from collections.abc import Callable, Collection
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.expression_functions import ARITHMETIC, FUNCTIONS, negate, path, verdict
from streamd.core.expression_syntax import Path, Translation, call, load, parse

# The functions an expression becomes. `result` marks where its tree goes, `reads` where fields are looked up.
_TEMPLATE = """
def evaluate(record):
    try:
        reads
        return result
    except Exception as error:
        raise verdict(error) from None

def test(record):
    try:
        reads
        return True if result else False
    except Exception as error:
        raise verdict(error) from None

def select(records):
    chosen, rejects = [], []
    for record in records:
        try:
            reads
            if result:
                chosen.append(record)
        except Exception as error:
            rejects.append((record, verdict(error)))
    return chosen, rejects
"""

_SCOPE: dict[str, Any] = {
    **{name: function for name, (function, _, _) in FUNCTIONS.items()},
    **ARITHMETIC,
    "negate": negate,
    "path": path,
    "verdict": verdict,
    "Exception": Exception,
    "__builtins__": {},
}
"""All that compiled expressions can see beside the record."""


class _Fill(ast.NodeTransformer):
    """Puts an expression's own tree into the template."""

    def __init__(self, reads: list[ast.stmt], result: ast.expr) -> None:
        self.reads = reads
        self.result = result

    def visit_Expr(self, node: ast.Expr) -> ast.AST | list[ast.stmt]:
        match node:
            case ast.Expr(value=ast.Name(id="reads")):
                return self.reads
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.result if node.id == "result" else node


def _reads(paths: dict[Path, str]) -> list[ast.stmt]:
    """One assignment for each path: a field is looked up once, however often it is named."""
    statements: list[ast.stmt] = []
    for keys, variable in paths.items():
        get = ast.Attribute(load("record"), "get", ast.Load())
        value = ast.Call(get, [ast.Constant(keys[0])], [])
        if len(keys) > 1:
            value = call("path", [value, *map(ast.Constant, keys[1:])])
        statements.append(ast.Assign([ast.Name(variable, ast.Store())], value))
    return statements or [ast.Pass()]


class Expression:
    """A compiled expression; calling it gives its value for a record.

    A missing field is None, and a comparison with None is false. `evaluate`, `test` and a call raise
    `BadData` (`expr:type`, `expr:zero`, `expr:range`, `expr:value`) and nothing else. `fields` are the
    names a record may have: any other name is then refused.

    `names` are the fields it reads (of a path, the first part); `uses_metadata` says that it calls `meta()`.
    Raises `ValueError` for a text that is no expression of the language. Compiling costs about 0.5 ms;
    a comparison of a field costs about 0.05 µs a record, an operator or function call about 0.1 µs more.
    """

    __slots__ = ("evaluate", "names", "select", "test", "text", "uses_metadata")

    def __init__(self, text: str, fields: Collection[str] | None = None) -> None:
        self.text = text.strip()
        translation = Translation(self.text, fields)
        result = translation.visit(parse(self.text))
        module = _Fill(_reads(translation.paths), result).visit(ast.parse(_TEMPLATE))
        scope = dict(_SCOPE)
        exec(compile(ast.fix_missing_locations(module), "<expression>", "exec"), scope)  # noqa: S102 - a tree of our own making
        self.evaluate: Callable[[Record], Any] = scope["evaluate"]
        self.test: Callable[[Record], bool] = scope["test"]
        """Whether the value counts as true."""
        self.select: Callable[[list[Record]], tuple[list[Record], list[tuple[Record, BadData]]]] = scope[
            "select"
        ]
        """The records for which it is true, and those it failed on. The fast way for many records."""
        read = {str(keys[0]) for keys in translation.paths}
        self.names = frozenset(name for name in read if not name.startswith("@"))
        self.uses_metadata = len(self.names) < len(read)

    def __call__(self, record: Record) -> Any:
        return self.evaluate(record)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def _check(text: str) -> str:
    Expression(text)
    return text


ExpressionText = Annotated[str, AfterValidator(_check), Field(description="an expression, like `value > 90`")]
"""A field of the configuration that holds an expression; a fault is reported at its own path."""
