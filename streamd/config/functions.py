"""Suggestions for `function` of a step, parsed from the Python file without running it."""

import ast
from pathlib import Path

from streamd.config.problems import Problem, quoted
from streamd.core.listed import listed


def with_functions(problem: Problem, value: object, base_dir: Path) -> Problem:
    """The problem of an invalid `function`, with the functions of its file added to the text."""
    if not isinstance(value, str):
        return problem
    file = value.strip().partition(":")[0]
    for name in dict.fromkeys((file, f"{file}.py", f"{file.rpartition('.')[0]}.py")):
        found = _functions(base_dir / name) if name.endswith(".py") else []
        if found:
            shown = listed(quoted(f"{name}:{function}") for function in found)
            return Problem(problem.place, f"{problem.text}; in that file there are {shown}")
    return problem


def _functions(path: Path) -> list[str]:
    """The public functions and classes at the top level. Empty if the file cannot be read or parsed."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and node.name[0] != "_"]
