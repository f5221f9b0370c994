"""Reports to a source whether its frames were delivered, filtered, rejected or lost."""

from collections.abc import Callable, Sequence
from enum import IntEnum

from streamd.core.tenure import InputPart


class Status(IntEnum):
    """The fate of a batch, from best to worst. A protocol may acknowledge all up to `REJECTED`."""

    DELIVERED = 0
    FILTERED = 1
    REJECTED = 2
    """Its dead letter is committed."""
    DROPPED = 3
    FAILED = 4


class Ack:
    """Counts the holders of a batch. When the last holder has settled, it reports the worst status.

    Each holder settles exactly once. Code that passes a batch to n receivers first forks n - 1 times.

    `origin` is the part of the input from which the records of the ack were made, if the input can be read
    again. A sink that knows which parts it has stored leaves out what comes again.
    """

    __slots__ = ("_done", "_holders", "_worst", "origin")

    def __init__(self, done: Callable[[Status], None], origin: InputPart | None = None) -> None:
        self.origin = origin
        self._done = done
        self._holders = 1
        self._worst = Status.DELIVERED

    def fork(self, more: int = 1) -> "Ack":
        """Add `more` holders; returns the ack."""
        if self._holders == 0:
            raise RuntimeError("an ack was forked after it had settled")
        self._holders += more
        return self

    def settle(self, status: Status) -> None:
        """Settle for one holder. The last call reports the worst status."""
        if self._holders == 0:
            raise RuntimeError("an ack was settled more often than it had holders")
        self._worst = max(self._worst, status)
        self._holders -= 1
        if self._holders == 0:
            self._done(self._worst)

    def divided(self, count: int) -> "tuple[Ack, Ack]":
        """The acks of the first `count` frames and of the others. Adds a holder.

        A part of the input whose frames have no numbers stays one part.
        """
        self.fork()
        if self.origin is None or self.origin.frames == 1:
            return self, self
        first, rest = self.origin.divided(count)
        return Ack(self.settle, first), Ack(self.settle, rest)

    @staticmethod
    def merge(acks: "Sequence[Ack | None]") -> "Ack | None":
        """One ack for several batches that go on as one; None if no batch has an ack.

        Its origin is that of the last one, which made the batch complete.
        """
        waiting = [ack for ack in acks if ack is not None]
        if len(waiting) <= 1:
            return waiting[0] if waiting else None

        def settle_all(status: Status) -> None:
            for ack in waiting:
                ack.settle(status)

        return Ack(settle_all, waiting[-1].origin)
