"""Finds the values of columns in a record by key or dotted path."""

from collections.abc import Mapping
from typing import Any

from streamd.core.batch import Record


class Paths:
    """Finds the value of each column: by the exact key first, then by the dotted path."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """`keys` has the key or path of each column."""
        self.keys = dict(keys)
        self.known = frozenset(keys.values())
        self.dotted = frozenset(key for key in keys.values() if "." in key)
        self._tree = _tree(self.known, self.dotted)

    def find(self, record: Record) -> Record:
        """The value of each column; None if the record has none."""
        return {
            column: record[key] if key in record else _walk(record, key) for column, key in self.keys.items()
        }

    def rest(self, record: Record) -> Record:
        """The fields that no column takes. A dict of which a path takes a part is copied, not changed."""
        exact = self.dotted & record.keys()
        return _rest(record, _tree(self.known, self.dotted - exact) if exact else self._tree)


def _walk(record: Any, path: str) -> Any:
    if "." not in path:
        return None
    for part in path.split("."):
        if not isinstance(record, dict):
            return None
        record = record.get(part)
    return record


def _tree(known: frozenset[str], dotted: frozenset[str]) -> dict[Any, Any]:
    """The paths as nested dicts. An empty dict means that a column takes the whole value."""
    tree: dict[Any, Any] = {}
    for path in dotted:
        node = tree
        for part in path.split("."):
            node = node.setdefault(part, {})
    return tree | {key: {} for key in known}


def _rest(record: Record, tree: dict[Any, Any]) -> Record:
    rest: Record = {}
    for key, value in record.items():
        node = tree.get(key)
        if node is None:
            rest[key] = value
        elif node and isinstance(value, dict):
            inner = _rest(value, node)
            if inner:
                rest[key] = inner
        elif node:
            rest[key] = value
    return rest
