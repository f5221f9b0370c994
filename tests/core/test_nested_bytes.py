"""The memory of what a record nests."""

import sys
from typing import Any

import pytest

from streamd.core.nested_bytes import nested_bytes


@pytest.mark.parametrize("value", [None, 1, 2.5, "text" * 100, b"bytes", True])
def test_what_nests_nothing_counts_nothing(value: Any) -> None:
    assert nested_bytes(value) == 0


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        [None] * 500,
        [[] for _ in range(500)],
        [{} for _ in range(500)],
        {f"{n:03}": None for n in range(500)},
        {f"{n:03}": [{"ab": [None]}] for n in range(500)},
    ],
)
def test_dicts_and_lists_count_about_with_their_memory(value: Any) -> None:
    def memory_of(part: Any) -> int:
        inner = [*part, *part.values()] if isinstance(part, dict) else part if isinstance(part, list) else []
        return sys.getsizeof(part) + sum(memory_of(one) for one in inner if one is not None)

    assert memory_of(value) / 2 <= nested_bytes(value) <= 3 * memory_of(value)
