"""The acks of one batch, each for a run of its rows."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from streamd.core.ack import Ack, Status


class Acks:
    """Who waits for the fate of which rows: runs of rows in order, each with the ack that its rows share.

    A batch without anybody who waits has None instead. So a bad row of one sender never tells another one,
    whose rows were merged into the same batch, to send again. Whoever holds a batch settles once.
    """

    __slots__ = ("runs",)

    def __init__(self, runs: list[tuple[int, Ack | None]]) -> None:
        """Runs of at least one row: their number of rows, and their ack."""
        self.runs = runs

    @classmethod
    def same(cls, ack: Ack | None, count: int) -> "Acks | None":
        """One ack for all `count` rows; None where there is no ack."""
        return None if ack is None else cls([(count, ack)])

    def __iter__(self) -> Iterator[tuple[int, int, Ack | None]]:
        """First row, the row behind the last one, and the ack of each run."""
        start = 0
        for count, ack in self.runs:
            yield start, start + count, ack
            start += count

    def fork(self, more: int = 1) -> "Acks":
        """Add `more` holders of the whole batch; returns itself."""
        if more:
            for _, ack in self.runs:
                if ack is not None:
                    ack.fork(more)
        return self

    def settle(self, status: Status) -> None:
        """The verdict of one holder on all rows."""
        for _, ack in self.runs:
            if ack is not None:
                ack.settle(status)

    def settle_but(self, indexes: Sequence[int], status: Status, others: Status) -> None:
        """The verdict of one holder: `status` for runs that have one of these rows, `others` for the rest."""
        for start, stop, ack in self:
            if ack is not None:
                place = bisect_left(indexes, start)
                ack.settle(status if place < len(indexes) and indexes[place] < stop else others)

    def fork_at(self, indexes: Sequence[int]) -> "Acks":
        """Those of the rows at these indexes, in order, with one holder more."""
        runs: list[tuple[int, Ack | None]] = []
        for start, stop, ack in self:
            count = bisect_left(indexes, stop) - bisect_left(indexes, start)
            if count:
                runs.append((count, ack.fork() if ack is not None else None))
        return Acks(runs)

    def sorted_out(self, rows: Sequence[Sequence[int]]) -> "list[Acks]":
        """Those of each list of rows, which are in order; together they are all rows, and had one holder."""
        parts = [self.fork_at(chosen) for chosen in rows]
        for _, ack in self.runs:
            if ack is not None:
                ack.settle(Status.DELIVERED)
        return parts

    def split(self, count: int) -> "tuple[Acks, Acks]":
        """Those of the first `count` rows and of the rest; a run that is cut gets one holder more."""
        head: list[tuple[int, Ack | None]] = []
        tail: list[tuple[int, Ack | None]] = []
        for start, stop, ack in self:
            if stop <= count:
                head.append((stop - start, ack))
            elif start >= count:
                tail.append((stop - start, ack))
            else:
                head.append((count - start, ack))
                tail.append((stop - count, ack.fork() if ack is not None else None))
        return Acks(head), Acks(tail)

    def of_origins(self, origins: Sequence[int], *, together: bool = False) -> "Acks | None":
        """Those of rows made of these rows, each of the one at its origin; origins ascend.

        A run of which nothing was made is settled as filtered. With `together` it may be part of the next
        row, or else of the last one, and waits for the fate of that.
        """
        runs: list[tuple[int, Ack | None]] = []
        without: list[Ack | None] = []
        for start, stop, ack in self:
            count = bisect_left(origins, stop) - bisect_left(origins, start)
            if count:
                runs.append((count, Ack.merge([*without, ack]) if without else ack))
                without = []
            elif together:
                without.append(ack)
            elif ack is not None:
                ack.settle(Status.FILTERED)
        rest = Ack.merge(without)
        if runs and rest is not None:
            count, ack = runs.pop()
            runs.append((count, Ack.merge([ack, rest])))
        elif rest is not None:
            rest.settle(Status.FILTERED)
        return Acks(runs) if runs else None

    @staticmethod
    def merge(parts: "Sequence[tuple[Acks | None, int]]") -> "Acks | None":
        """Those of some batches, each with its number of rows, as one; None where nobody waits for any."""
        if all(acks is None for acks, _ in parts):
            return None
        runs: list[tuple[int, Ack | None]] = []
        for acks, count in parts:
            runs += [(count, None)] if acks is None else acks.runs
        return Acks(runs)
