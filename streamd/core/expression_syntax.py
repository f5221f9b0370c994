"""The grammar of expressions. Makes a safe syntax tree of a text.

Python's parser reads the text. Then each node is checked and translated into a new tree. The new tree can
only read the record, compare, decide, and call the functions of `expression_functions`.
"""

import ast
import difflib
import keyword
import re
import warnings
from collections.abc import Collection, Iterable
from typing import Final

from streamd.core.expression_functions import FUNCTIONS, MAX_INTEGER, MIN_INTEGER, NEVER_NONE
from streamd.core.listed import listed

MAX_SOURCE_BYTES: Final = 4096
"""Longest text of an expression."""
MAX_DEPTH: Final = 64
"""Deepest nesting of an expression."""
METADATA: Final = ("source", "peer", "received_at", "flag")
"""The arguments of `meta()`. In the record these keys begin with `@`."""

Path = tuple[str | int, ...]
"""The keys of a value: the name of a field, then names in dicts and indexes in lists."""

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip
_REFUSED = {
    "Lambda": "lambda", "ListComp": "a comprehension", "SetComp": "a comprehension",
    "DictComp": "a comprehension", "GeneratorExp": "a comprehension", "JoinedStr": "an f-string",
    "TemplateStr": "a t-string", "NamedExpr": "an assignment with :=", "Starred": "a starred value",
    "Dict": "a dict", "Set": "a set", "Await": "await", "Yield": "yield", "YieldFrom": "yield",
    "Pow": "the operator **", "LShift": "the operator <<", "RShift": "the operator >>",
    "BitAnd": "the operator & (write and)", "BitOr": "the operator | (write or)",
    "BitXor": "the operator ^", "MatMult": "the operator @", "UAdd": "the sign +",
    "Invert": "the operator ~", "Slice": "a slice",
    "List": "a list that is not to the right of in", "Tuple": "a tuple that is not to the right of in",
}  # fmt: skip
_OTHER_SPELLINGS = {
    "true": "True", "TRUE": "True", "false": "False", "FALSE": "False", "null": "None", "NULL": "None",
    "Null": "None", "none": "None", "NONE": "None", "nil": "None", "undefined": "None",
}  # fmt: skip
_TEXT = re.compile(r"""\"(?:\\.|[^"\\])*\"|'(?:\\.|[^'\\])*'""")
_FOREIGN = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        ("[\u201c\u201d\u2018\u2019\u201e]", "the quotes are typographic: write \" or '"),
        (r"(?i:\bbetween\b)", "there is no between: write 1 <= x <= 9"),
        (r"=>|=<", "write >= or <="),
        (r"&&|\bAND\b", "write and"),
        (r"\|\||\bOR\b", "write or"),
        (r"(?i:\bi?like\b)", "there is no like: write startswith(x, …), endswith(x, …) or contains(x, …)"),
        (
            r"=~|~=|(?i:\br(?:like|egexp?)\b|\bmatches\b)",
            "there are no patterns: write startswith(x, …) or contains(x, …)",
        ),
        (r"<>", "write !="),
        (r"[=!]==", "write == or !="),
        (r"(?i:\bis\s+not\s+null\b)", "write x is not None"),
        (r"(?i:\bis\s+null\b)", "write x is None"),
        (r"\bNOT\s+IN\b", "write not in"),
        (r"\bNOT\b|!(?!=)", "write not"),
        (r"\bIN\b", "write in"),
        (r"\bIS\b", "write is"),
        (r"\?", "write a if condition else b"),
        (r"(?<![=!<>~])=(?![=<>~])", "a comparison is written =="),
    )
)
"""Patterns outside of quoted texts and their hints. They are searched if Python's parser fails."""
_WORDS = {"and", "or", "not", "in", "is", "if", "else", "True", "False", "None"}


def load(name: str) -> ast.Name:
    """The value of a generated variable."""
    return ast.Name(name, ast.Load())


def call(name: str, arguments: Iterable[ast.expr]) -> ast.Call:
    """A call of one of the expression functions."""
    return ast.Call(load(name), list(arguments), [])


def _depth(node: ast.AST) -> int:
    """Levels of the tree, counted without recursion because the tree may be deep."""
    level, depth = [node], 0
    while level and depth <= MAX_DEPTH:
        children = (child for parent in level for child in ast.iter_child_nodes(parent))
        level = [child for child in children if isinstance(child, ast.expr)]
        depth += 1
    return depth


def _other_language(text: str) -> str:
    """Hints for words and signs of SQL, C or JavaScript in the text; empty if there are none."""
    bare = _TEXT.sub('""', text)
    return "; ".join(dict.fromkeys(words for pattern, words in _FOREIGN if pattern.search(bare)))


def parse(text: str) -> ast.expr:
    """Parse the text into a tree that is checked only for its size.

    Raises `ValueError` for every error of Python's parser.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_SOURCE_BYTES:
        raise ValueError(f"an expression has at most {MAX_SOURCE_BYTES} bytes")
    if not text:
        raise ValueError("the expression is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an unknown escape, for example, is an error
            tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        if meant := _other_language(text):
            raise ValueError(f"{meant}: {text[:60]!r}") from None
        taken = [w for w in re.findall(r"\w+", text) if keyword.iskeyword(w) and w not in _WORDS]
        hint = f' (a field of that name is written field("{taken[0]}"))' if taken else ""
        # At the end of the text, Python reports offset 0.
        where = f"at character {error.offset}" if error.offset else "at the end"
        raise ValueError(f"{error.msg} {where} of {text[:60]!r}{hint}") from None
    except (RecursionError, MemoryError):
        raise ValueError(f"an expression is nested at most {MAX_DEPTH} levels deep") from None
    except UnicodeEncodeError:
        raise ValueError("the expression contains half of a surrogate pair") from None
    if _depth(tree) > MAX_DEPTH:
        raise ValueError(f"an expression is nested at most {MAX_DEPTH} levels deep")
    return tree


class Translation(ast.NodeVisitor):
    """Checks a user's tree and translates it. A node type without a `visit_` method here is refused.

    `visit` returns the new tree, in which fields are the variables of `paths`. It raises `ValueError` for the
    first node that is not allowed.
    """

    def __init__(self, text: str, fields: Collection[str] | None) -> None:
        self.text = text
        self.fields = fields
        self.paths: dict[Path, str] = {}
        self.temporaries = 0
        self.compared: list[ast.expr] = []
        """Operands of comparisons. For a bare word among them, the user may have meant a text."""

    def refusal(self, node: ast.expr, what: str) -> ValueError:
        """The error `what`, followed by the text of the node unless it is quoted already."""
        place = ast.get_source_segment(self.text, node) or ""
        is_quoted = place == self.text or repr(place) in what
        return ValueError(what if is_quoted else f"{what}: {place[:60]!r}")

    def generic_visit(self, node: ast.AST) -> ast.expr:
        culprit = node.op if isinstance(node, ast.BinOp | ast.UnaryOp) else node
        kind = type(culprit).__name__
        what = f"{_REFUSED.get(kind, kind)} is not part of the expression language"
        raise self.refusal(node, what) if isinstance(node, ast.expr) else ValueError(what)

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return self.constant(node, node.value)

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return self.read(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.Name:
        return self.read(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.Name:
        return self.read(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.BoolOp:
        return ast.BoolOp(node.op, [self.visit(value) for value in node.values])

    def visit_IfExp(self, node: ast.IfExp) -> ast.IfExp:
        return ast.IfExp(self.visit(node.test), self.visit(node.body), self.visit(node.orelse))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        match node:
            case ast.UnaryOp(op=ast.Not()):
                return ast.UnaryOp(ast.Not(), self.visit(node.operand))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return self.constant(node, -number)
            case ast.UnaryOp(op=ast.USub()):
                return call("negate", [self.visit(node.operand)])
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        if type(node.op) not in _OPERATORS:
            return self.generic_visit(node)
        return call(_OPERATORS[type(node.op)], [self.visit(node.left), self.visit(node.right)])

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if not isinstance(node.func, ast.Name):
            method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            instead = f": write {method}(x, …) for x.{method}(…)" if method in FUNCTIONS else ""
            raise self.refusal(node, f"only the functions of the language can be called, by name{instead}")
        name = node.func.id
        if name in ("field", "meta"):
            return self.read(node)
        if name not in FUNCTIONS:
            close = difflib.get_close_matches(name, FUNCTIONS, 1)
            hint = f"did you mean {close[0]}()?" if close else f"there are {', '.join(FUNCTIONS)}"
            raise self.refusal(node, f"there is no function {name}(): {hint}")
        _, fewest, most = FUNCTIONS[name]
        if node.keywords or not fewest <= len(node.args) <= most:
            count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            raise self.refusal(node, f"{name}() takes {count} argument{'s' * (most > 1)}, without names")
        return call(name, map(self.visit, node.args))

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """A comparison that is false if one of its sides is None."""
        if any(isinstance(operator, ast.Is | ast.IsNot) for operator in node.ops):
            match node:
                case ast.Compare(ops=[_], comparators=[ast.Constant(value=None)]):
                    left = self.visit(node.left)
                    if isinstance(left, ast.Constant):
                        raise self.refusal(node, "a comparison of a constant with None never changes")
                    return ast.Compare(left, node.ops, [ast.Constant(None)])
            raise self.refusal(node, "is compares with None only: write x is None or x is not None")
        guards: list[ast.expr] = []
        self.compared += [side for side in (node.left, *node.comparators) if isinstance(side, ast.Name)]
        self.compared += [
            element
            for side in node.comparators
            if isinstance(side, ast.List | ast.Tuple)
            for element in side.elts
        ]
        sides = [self.side(node.left, guards)]
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, ast.In | ast.NotIn) and isinstance(right, ast.List | ast.Tuple):
                sides.append(self.choices(right))
            else:
                sides.append(self.side(right, guards))
        comparison = ast.Compare(sides[0], node.ops, sides[1:])
        return ast.BoolOp(ast.And(), [*guards, comparison]) if guards else comparison

    def side(self, node: ast.expr, guards: list[ast.expr]) -> ast.expr:
        """One side of a comparison; adds the check against None to `guards`."""
        side = self.visit(node)
        match side:
            case ast.Constant(value=None):
                what = "a comparison with None is always false: write x is None or x is not None"
                raise self.refusal(node, what)
            case ast.Constant() | ast.Compare() | ast.UnaryOp():
                return side
            case ast.Call(func=ast.Name(id=name)) if name in NEVER_NONE:
                return side
            case ast.Name():
                known = side
            case _:
                temporary = f"side_{self.temporaries}"
                self.temporaries += 1
                side = ast.NamedExpr(ast.Name(temporary, ast.Store()), side)
                known = load(temporary)
        guards.append(ast.Compare(side, [ast.IsNot()], [ast.Constant(None)]))
        return known

    def choices(self, node: ast.List | ast.Tuple) -> ast.Tuple:
        """The constants to the right of `in`."""
        choices = [self.visit(element) for element in node.elts]
        for element, choice in zip(node.elts, choices, strict=True):
            if not isinstance(choice, ast.Constant) or choice.value is None:
                what = "a list to the right of in holds only constants, without None"
                if isinstance(element, ast.Name):
                    what += f'; a text is written in quotes, "{element.id}"'
                raise self.refusal(element, what)
        return ast.Tuple(choices, ast.Load())

    def constant(self, node: ast.expr, value: object) -> ast.Constant:
        match value:
            case None | bool():
                return ast.Constant(value)
            case str():
                if any("\ud800" <= character <= "\udfff" for character in value):
                    raise self.refusal(node, "a text must not hold half of a surrogate pair")
                return ast.Constant(value)
            case int():
                if not MIN_INTEGER <= value <= MAX_INTEGER:
                    raise self.refusal(node, "an integer must fit 64 bits")
                return ast.Constant(value)
            case float():
                if abs(value) == float("inf"):
                    raise self.refusal(node, "a number must fit a 64-bit float")
                return ast.Constant(value)
        raise self.refusal(node, "a constant is a text, a number, True, False or None")

    def read(self, node: ast.expr) -> ast.Name:
        """The variable for the value at a path."""
        keys = self.path(node)
        name = str(keys[0])
        if self.fields is not None and not name.startswith("@") and name not in self.fields:
            close = difflib.get_close_matches(name, self.fields, 1)
            hint = (
                f"did you mean {close[0]!r}?"
                if close
                else f"there are {listed(sorted(self.fields)) or 'none'}"
            )
            if isinstance(node, ast.Name) and node in self.compared:
                hint += f'; or, as a text, "{name}"'
            raise self.refusal(node, f"there is no field {name!r}: {hint}")
        return load(self.paths.setdefault(keys, f"field_{len(self.paths)}"))

    def path(self, node: ast.expr) -> Path:
        """The keys of a name, `field()`, `meta()`, or a part of one of them."""
        match node:
            case ast.Name():
                return (self.name(node, node.id),)
            case ast.Attribute():
                return (*self.path(node.value), self.name(node, node.attr))
            case ast.Call(func=ast.Name(id="field" | "meta" as function)):
                return (self.named(node, function),)
            case ast.Subscript():
                match self.visit(node.slice):
                    case ast.Constant(value=str() | int() as key) if not isinstance(key, bool):
                        return (*self.path(node.value), key)
                raise self.refusal(node, "only a constant can be in []: an index or a text")
        raise self.refusal(node, "only a field has parts: write field.part or field[0]")

    def name(self, node: ast.expr, name: str) -> str:
        if name.startswith("__"):
            raise self.refusal(node, f'a name with __ before it must be quoted: field("{name}")')
        if name in _OTHER_SPELLINGS and name not in (self.fields or ()):
            raise self.refusal(node, f'write {_OTHER_SPELLINGS[name]} (or, for a field, field("{name}"))')
        if name not in self.text:  # Python normalises identifiers: the ligature ﬁ becomes fi
            raise self.refusal(node, f'look-alike characters for {name!r}: write field("…")')
        return name

    def named(self, node: ast.Call, function: str) -> str:
        """The key that `field("…")` or `meta("…")` names."""
        match node:
            case ast.Call(args=[ast.Constant(value=str() as name)], keywords=[]):
                self.constant(node, name)
            case _:
                raise self.refusal(node, f"{function}() takes one text in quotes")
        if function == "field":
            if name.startswith("@"):
                raise self.refusal(node, f'a name with @ before it is metadata: meta("{name[1:]}")')
            return name
        if name not in METADATA:
            raise self.refusal(node, f"the argument of meta() is one of {', '.join(METADATA)}")
        return f"@{name}"
