"""The acks of one batch, each for a run of its rows."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from streamd.core.ack import Ack, Status


class Acks:
    """The acks of a batch's rows, as runs of neighbouring rows that share an ack.

    Each sender has its own ack. So a bad row of one sender never makes another sender, whose rows were merged
    into the same batch, repeat them. A batch in which no row has an ack has None instead of this object. Each
    holder of the batch settles once.
    """

    __slots__ = ("runs",)

    def __init__(self, runs: list[tuple[int, Ack | None]]) -> None:
        """`runs`: number of rows, at least 1, and ack of each run."""
        self.runs = runs

    @classmethod
    def same(cls, ack: Ack | None, count: int) -> "Acks | None":
        """One ack for all `count` rows; None without an ack."""
        return None if ack is None else cls([(count, ack)])

    def __iter__(self) -> Iterator[tuple[int, int, Ack | None]]:
        """For each run: the index of its first row, the index behind its last row, and its ack."""
        start = 0
        for count, ack in self.runs:
            yield start, start + count, ack
            start += count

    def fork(self, more: int = 1) -> "Acks":
        """Add `more` holders of the whole batch; returns the object."""
        if more:
            for _, ack in self.runs:
                if ack is not None:
                    ack.fork(more)
        return self

    def settle(self, status: Status) -> None:
        """Settle all rows for one holder."""
        for _, ack in self.runs:
            if ack is not None:
                ack.settle(status)

    def settle_rows(self, fates: Sequence[tuple[Status, Sequence[int]]], others: Status) -> None:
        """Settle for one holder: each run with the first status in `fates` that applies to one of its rows.

        `fates` lists the worst status first, each with its rows, which ascend. Other runs get `others`.
        """
        for start, stop, ack in self:
            if ack is not None:
                ack.settle(next((status for status, rows in fates if _has(rows, start, stop)), others))

    def fork_at(self, indexes: Sequence[int]) -> "Acks":
        """The acks of the rows at `indexes`, which ascend; each ack gets one more holder."""
        runs: list[tuple[int, Ack | None]] = []
        for start, stop, ack in self:
            count = bisect_left(indexes, stop) - bisect_left(indexes, start)
            if count:
                runs.append((count, ack.fork() if ack is not None else None))
        return Acks(runs)

    def sorted_out(self, rows: Sequence[Sequence[int]]) -> "list[Acks]":
        """The acks of each list of rows, which ascend. The lists together hold all rows, of one holder."""
        parts = [self.fork_at(chosen) for chosen in rows]
        for _, ack in self.runs:
            if ack is not None:
                ack.settle(Status.DELIVERED)
        return parts

    def whole(self, count: int, *, of_frames: bool = False) -> tuple[int, int]:
        """The most rows up to `count`, and the least from `count` on, that end with a part of the input.

        With `of_frames` each row is a frame, and a part whose frames have numbers may be divided.
        """
        for start, stop, ack in self:
            if stop > count:
                is_free = ack is None or ack.origin is None or (of_frames and ack.origin.frames > 1)
                return (count, count) if is_free or start == count else (start, stop)
        return count, count

    def split(self, count: int, *, of_frames: bool = False) -> "tuple[Acks, Acks]":
        """The acks of the first `count` rows and of the rest. A run that is cut gets one more holder.

        With `of_frames` each row is a frame, and a part of the input that is cut becomes two parts.
        """
        head: list[tuple[int, Ack | None]] = []
        tail: list[tuple[int, Ack | None]] = []
        for start, stop, ack in self:
            if stop <= count:
                head.append((stop - start, ack))
            elif start >= count:
                tail.append((stop - start, ack))
            else:
                first = rest = ack
                if ack is not None:
                    first, rest = ack.divided(count - start) if of_frames else (ack, ack.fork())
                head.append((count - start, first))
                tail.append((stop - count, rest))
        return Acks(head), Acks(tail)

    def of_origins(self, origins: Sequence[int], *, together: bool = False) -> "Acks | None":
        """The acks of new rows; `origins` are the indexes, which ascend, of the rows they were made from.

        A run without new rows settles as filtered. With `together` it joins the run of the next new row, or
        of the last one, because its content may be part of that row.
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

    def without_origins(self) -> "Acks":
        """The same acks for records of which no sink may say that it has stored them."""
        return Acks(
            [(n, ack if ack is None or ack.origin is None else Ack(ack.settle)) for n, ack in self.runs]
        )

    @staticmethod
    def merge(parts: "Sequence[tuple[Acks | None, int]]") -> "Acks | None":
        """The acks of several batches, each with its number of rows, as one; None if no row has an ack."""
        if all(acks is None for acks, _ in parts):
            return None
        runs: list[tuple[int, Ack | None]] = []
        for acks, count in parts:
            runs += [(count, None)] if acks is None else acks.runs
        return Acks(runs)


def _has(rows: Sequence[int], start: int, stop: int) -> bool:
    """Whether one of the ascending `rows` is in this range."""
    place = bisect_left(rows, start)
    return place < len(rows) and rows[place] < stop
