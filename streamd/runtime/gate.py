"""Batches and ticks pass one by one; now and then none is under way."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class Gate:
    """Keeps out what would begin while somebody looks at the state of all steps."""

    def __init__(self) -> None:
        self.under_way = 0
        self._shut: asyncio.Event | None = None
        self._empty = asyncio.Event()
        self._alone = asyncio.Lock()

    @property
    def is_shut(self) -> bool:
        """Whether nothing may begin now."""
        return self._shut is not None

    async def opened(self) -> None:
        """Wait until something may begin."""
        while self._shut is not None:
            await self._shut.wait()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """What is done in here is under way. Only where the gate is not shut."""
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
            if not self.under_way:
                self._empty.set()

    @asynccontextmanager
    async def shut(self) -> AsyncIterator[None]:
        """Let what is under way end, and nothing begin meanwhile."""
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
