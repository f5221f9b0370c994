"""The only thing that travels back: what became of the frames of one read."""

from collections.abc import Callable, Sequence
from enum import IntEnum


class Status(IntEnum):
    """The fate of a batch, best to worst. An acknowledging protocol answers up to `REJECTED`."""

    DELIVERED = 0
    FILTERED = 1
    REJECTED = 2
    """Refused, and its dead letter is committed."""
    DROPPED = 3
    FAILED = 4


class Ack:
    """Counts the holders of one batch and reports the worst of their verdicts when the last one settles.

    Every holder settles exactly once; code that hands a batch to n receivers forks n - 1 times first.
    """

    __slots__ = ("_done", "_holders", "_worst")

    def __init__(self, done: Callable[[Status], None]) -> None:
        self._done = done
        self._holders = 1
        self._worst = Status.DELIVERED

    def fork(self, more: int = 1) -> "Ack":
        """Add `more` holders; returns itself so that a fork can be handed on."""
        if self._holders == 0:
            raise RuntimeError("an ack was forked after it had settled")
        self._holders += more
        return self

    def settle(self, status: Status) -> None:
        """One holder's verdict. The last one reports."""
        if self._holders == 0:
            raise RuntimeError("an ack was settled more often than it was held")
        self._worst = max(self._worst, status)
        self._holders -= 1
        if self._holders == 0:
            self._done(self._worst)

    @staticmethod
    def merge(acks: "Sequence[Ack | None]") -> "Ack | None":
        """One ack for several batches that go on as one; None when nobody waits for any of them."""
        waiting = [ack for ack in acks if ack is not None]
        if len(waiting) <= 1:
            return waiting[0] if waiting else None

        def settle_all(status: Status) -> None:
            for ack in waiting:
                ack.settle(status)

        return Ack(settle_all)
