"""A step's claim on the frames of records that it keeps: they count as done when its result is committed."""

from collections.abc import Iterable
from contextvars import ContextVar

from streamd.core.ack import Ack, Status


class Hold:
    """Keeps the ack of the frames under process open until it is settled; settling it again does nothing."""

    __slots__ = ("__weakref__", "_ack", "_holding")

    def __init__(self, holding: "Holding", ack: Ack) -> None:
        self._holding = holding
        self._ack: Ack | None = ack

    def hand_on(self) -> None:
        """It waits for a sink from now on, and for the step no more."""
        self._holding.open.discard(self)

    def settle(self, status: Status) -> None:
        """The fate of what was kept: `FILTERED` where the step wants no result of it."""
        ack, self._ack = self._ack, None
        if ack is not None:
            self._holding.open.discard(self)
            ack.settle(status)


class Holding:
    """The holds of one step that are open."""

    def __init__(self) -> None:
        self.open: set[Hold] = set()

    def fail(self) -> int:
        """The step has lost what it kept: its frames count as dropped. Returns how many holds were open."""
        left = list(self.open)
        for hold in left:
            hold.settle(Status.DROPPED)
        return len(left)


_under_process: ContextVar["Claim | None"] = ContextVar("under_process", default=None)
"""Set in the threads and tasks of a call too."""


def hold() -> Hold | None:
    """Keep the frames of the records under process; None where nobody waits for their fate."""
    claim = _under_process.get()
    return None if claim is None else claim.hold()


class Claim:
    """One call of a step: within it `hold` gives holds on `ack`, in whichever thread the call is made.

    The ack has a child for the call, so that a thread never touches what the loop settles meanwhile. When
    the call fails, its records are rejected, and its holds with them.
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


def joined(ack: Ack | None, holds: Iterable[Hold]) -> Ack | None:
    """One ack for what goes on and all that was held for it."""
    waiting = list(holds)
    if not waiting:
        return ack
    for one in waiting:
        one.hand_on()

    def settle(status: Status) -> None:
        for one in waiting:
            one.settle(status)
        if ack is not None:
            ack.settle(status)

    return Ack(settle)
