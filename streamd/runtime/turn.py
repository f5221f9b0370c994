"""A line that is passed in the order it was joined."""

import asyncio


class Turn:
    """One place in a line. Where nobody has to wait it costs no more than two attributes."""

    __slots__ = ("_before", "_gone", "_next")

    def __init__(self, before: "Turn | None") -> None:
        self._before = before
        self._gone = False
        self._next: asyncio.Future[None] | None = None

    @property
    def gone(self) -> bool:
        """It has left."""
        return self._gone

    @property
    def waits(self) -> bool:
        """Whether `come` would wait."""
        return self._before is not None and not self._before.gone

    async def come(self) -> None:
        """Wait until everybody before has left."""
        before, self._before = self._before, None
        if before is not None:
            await before.over()

    async def over(self) -> None:
        """Wait until this one has left; only the next one in the line does."""
        if not self._gone:
            self._next = asyncio.get_running_loop().create_future()
            await self._next

    def leave(self) -> None:
        """Let the next one pass."""
        self._gone = True
        self._before = None
        if self._next is not None and not self._next.done():
            self._next.set_result(None)


class Line:
    """Who joined it first passes first, however long it takes each to come."""

    def __init__(self) -> None:
        self._last: Turn | None = None

    def join(self) -> Turn:
        """The place behind all others."""
        self._last = Turn(self._last)
        return self._last
