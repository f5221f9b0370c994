"""Holds of a step on the frames of records that it keeps: their acks settle with the step's result."""

from collections.abc import Iterable
from contextvars import ContextVar

from streamd.core.ack import Ack, Status


class Hold:
    """Keeps the ack of frames open until it is settled. A second `settle` does nothing."""

    __slots__ = ("__weakref__", "_ack", "_holding")

    def __init__(self, holding: "Holding", ack: Ack) -> None:
        self._holding = holding
        self._ack: Ack | None = ack

    def leave_step(self) -> None:
        """Mark that the hold now waits for sinks, no longer for the step."""
        self._holding.open.discard(self)

    def settle(self, status: Status) -> None:
        """Settle the held frames; with `FILTERED` if the step makes no result of them."""
        ack, self._ack = self._ack, None
        if ack is not None:
            self._holding.open.discard(self)
            ack.settle(status)


class Holding:
    """The open holds of one step."""

    def __init__(self) -> None:
        self.open: set[Hold] = set()

    def fail(self) -> int:
        """Settle all holds as dropped because the step lost its records; returns the number of holds."""
        left = list(self.open)
        for hold in left:
            hold.settle(Status.DROPPED)
        return len(left)


_under_process: ContextVar["HoldScope | None"] = ContextVar("under_process", default=None)
"""The claim of the current call, also in its threads and tasks."""


def hold() -> Hold | None:
    """Hold the frames of the records under process; None if no source waits for them."""
    claim = _under_process.get()
    return None if claim is None else claim.hold()


class HoldScope:
    """The context of one call of a step, in which `hold` makes holds on `ack`, in any thread.

    The holds fork a child of `ack`, because a thread must not touch the ack that the event loop may settle
    meanwhile. If the call fails, its records are rejected and its holds settle.
    """

    __slots__ = ("_ack", "_holding", "_made", "_token")

    def __init__(self, holding: Holding, ack: Ack) -> None:
        self._holding = holding
        self._ack = Ack(ack.fork().settle)
        self._made: list[Hold] = []

    def hold(self) -> Hold:
        """One more hold on the ack."""
        made = Hold(self._holding, self._ack.fork())
        self._holding.open.add(made)
        self._made.append(made)
        return made

    def __enter__(self) -> None:
        self._token = _under_process.set(self)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        _under_process.reset(self._token)
        if kind is not None:
            for made in self._made:
                made.settle(Status.FILTERED)
        self._ack.settle(Status.DELIVERED)


def join_holds(ack: Ack | None, holds: Iterable[Hold]) -> Ack | None:
    """One ack for records and the holds that became part of them. Its origin is that of `ack`."""
    waiting = list(holds)
    if not waiting:
        return ack
    for one in waiting:
        one.leave_step()

    def settle(status: Status) -> None:
        for one in waiting:
            one.settle(status)
        if ack is not None:
            ack.settle(status)

    return Ack(settle, None if ack is None else ack.origin)
