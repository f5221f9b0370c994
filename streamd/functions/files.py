"""Finds the files of a step: its own, and the modules in the same folder that it imports."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_STREAMD = "streamd"
"""The name of the installed package that no file in the folder of the configuration can replace."""


class ModuleSource(NamedTuple):
    """The source of a module."""

    path: str
    content: bytes
    is_package: bool


Sources = dict[str, ModuleSource]
"""Sources by the name of the module in import statements."""


def is_reserved(name: str) -> bool:
    """Whether the name always means the standard library or streamd, even if a file has this name."""
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names or top == _STREAMD


def read(root: Path, name: str) -> ModuleSource | None:
    """The module of this name below `root`; None if it has no Python source there."""
    place = root.joinpath(*name.split("."))
    for path, is_package in ((place / "__init__.py", True), (place.parent / f"{place.name}.py", False)):
        try:
            return ModuleSource(str(path), path.read_bytes(), is_package)
        except OSError:
            continue
    return None


def collect(root: Path, name: str, source: ModuleSource) -> Sources:
    """The module, and all modules below `root` that it imports directly or indirectly.

    Names of the standard library are not searched there.
    """
    found: Sources = {name: source}
    waiting = [name]
    while waiting:
        importer = waiting.pop()
        for wanted in _imported(importer, found[importer]):
            if wanted in found or is_reserved(wanted):
                continue
            module = read(root, wanted)
            if module is not None:
                found[wanted] = module
                waiting.append(wanted)
    return found


def _imported(name: str, source: ModuleSource) -> Iterator[str]:
    """Every name that an import statement of the module may load, packages first."""
    try:
        tree = ast.parse(source.content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # the import will raise the error
    package = name if source.is_package else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".") if package else []
                kept = parts[: len(parts) - node.level + 1]
                base = ".".join([*kept, *([base] if base else [])])
            if base:
                yield from _parents(base)
            for alias in node.names:
                yield f"{base}.{alias.name}" if base else alias.name


def _parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])
