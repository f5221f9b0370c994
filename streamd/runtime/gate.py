"""A gate that can keep batches and ticks from beginning."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Keeps batches and ticks from beginning while a snapshot of all steps is taken.

    Each batch and tick runs in `with gate:`.
    """

    def __init__(self) -> None:
        self.under_way = 0
        self._shut: asyncio.Event | None = None
        self._empty = asyncio.Event()
        self._alone = asyncio.Lock()

    @property
    def is_shut(self) -> bool:
        """Whether no batch or tick may begin now."""
        return self._shut is not None

    async def opened(self) -> None:
        """Wait until a batch or tick may begin."""
        while self._shut is not None:
            await self._shut.wait()

    def __enter__(self) -> None:
        """Begin a batch or tick, which is under way until `__exit__`. Enter only while the gate is open."""
        self.under_way += 1

    def __exit__(self, *raised: object) -> None:
        self.under_way -= 1
        if not self.under_way:
            self._empty.set()

    @asynccontextmanager
    async def shut(self) -> AsyncIterator[None]:
        """A context in which no batch or tick is under way; waits for the current ones first."""
        async with self._alone:
            self._shut = opened = asyncio.Event()
            try:
                while self.under_way:
                    self._empty.clear()
                    await self._empty.wait()
                yield
            finally:
                self._shut = None
                opened.set()
