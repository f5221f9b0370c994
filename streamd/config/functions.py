"""What `function` of a step could name: looked up in the file's text, which is not run."""

import ast
from pathlib import Path

from streamd.config.problems import Problem, quoted

_MOST_SHOWN = 12


def with_functions(problem: Problem, value: object, base_dir: Path) -> Problem:
    """The problem of a `function` that has no name of one, with those that its file has."""
    if not isinstance(value, str):
        return problem
    file = value.strip().partition(":")[0]
    for name in dict.fromkeys((file, f"{file}.py", f"{file.rpartition('.')[0]}.py")):
        found = _functions(base_dir / name) if name.endswith(".py") else []
        if found:
            shown = ", ".join(quoted(f"{name}:{function}") for function in found[:_MOST_SHOWN])
            return Problem(problem.place, f"{problem.text}; in that file there are {shown}")
    return problem


def _functions(path: Path) -> list[str]:
    """Functions and classes at the top level that are not private; none where it cannot be read."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and node.name[0] != "_"]
