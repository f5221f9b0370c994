"""A waiting line, which its members leave in the order in which they joined it."""

import asyncio


class Turn:
    """One place in a line. If it does not have to wait, it needs no future."""

    __slots__ = ("_before", "_gone", "_next")

    def __init__(self, before: "Turn | None") -> None:
        self._before = before
        self._gone = False
        self._next: asyncio.Future[None] | None = None

    @property
    def gone(self) -> bool:
        """Whether this place has left the line."""
        return self._gone

    @property
    def waits(self) -> bool:
        """Whether `come` would wait."""
        return self._before is not None and not self._before.gone

    async def come(self) -> None:
        """Wait until all places before this one have left."""
        before, self._before = self._before, None
        if before is not None:
            await before.over()

    async def over(self) -> None:
        """Wait until this place has left. Only the next place calls this."""
        if not self._gone:
            self._next = asyncio.get_running_loop().create_future()
            await self._next

    def leave(self) -> None:
        """Leave the line; lets the next place pass."""
        self._gone = True
        self._before = None
        if self._next is not None and not self._next.done():
            self._next.set_result(None)


class Line:
    """A waiting line. The place that joined first passes first."""

    def __init__(self) -> None:
        self._last: Turn | None = None

    def join(self) -> Turn:
        """A new place at the end of the line."""
        self._last = Turn(self._last)
        return self._last
