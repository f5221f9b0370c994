"""What only reads a database."""

from collections.abc import Sequence
from typing import Any, Protocol


class Fetches(Protocol):
    """A database that answers queries, read-only or not."""

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
