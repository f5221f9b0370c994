"""Where the columns of a table find their values in a record."""

from collections.abc import Mapping
from typing import Any

from streamd.core.batch import Record


class Paths:
    """For each column the key of its value in a record: the exact key first, then the dotted path."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """`keys` gives the key or path for each column."""
        self.keys = dict(keys)
        self.known = frozenset(keys.values())
        self.dotted = frozenset(key for key in keys.values() if "." in key)
        self._tree = _tree(self.known, self.dotted)

    def find(self, record: Record) -> Record:
        """The value of each column, None where the record has none."""
        return {
            column: record[key] if key in record else _walk(record, key) for column, key in self.keys.items()
        }

    def rest(self, record: Record) -> Record:
        """What no column takes, as new dicts where a path takes a part of one; never changes the record."""
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
    """Nested dicts of the parts of each path; an empty one says that everything there is taken."""
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
