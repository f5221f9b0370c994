"""The numbers of one sender: which of them have come, are missing, or have come twice."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Self

Place = Literal["first", "next", "gap", "late", "duplicate", "far", "restart"]
"""The place of a number among those before it."""


class Gap(NamedTuple):
    """Missing numbers from `first` to `last`."""

    first: int
    last: int
    missing: int
    """How many they are; -1 for a number that came after it was reported as missing."""


StoredLine = tuple[int, bytes, bytes, int, int, float, tuple[int, int] | None]
"""A line in a snapshot."""


class NumberLine:
    """The last numbers of one sender. Bit n of `seen` and `lost` stands for the number `highest - n`."""

    __slots__ = ("far", "gap_at_s", "highest", "lost", "seen", "since_timer", "span")

    def __init__(self, number: int, at_s: float = 0.0) -> None:
        self.gap_at_s = at_s
        """When numbers were last skipped, or the first came. The user of the line sets it."""
        self.begin(number)

    def begin(self, number: int) -> None:
        """Begin anew with this number; nothing is known of the numbers before it."""
        self.highest = number
        self.seen = 1
        self.lost = 0
        """The numbers that were reported as missing."""
        self.span = 1
        """How many numbers back a number can be missing; those before the first are unknown."""
        self.since_timer = 0
        """By how much `highest` has grown since the timer for missing numbers was set."""
        self.far: tuple[int, int] | None = None
        """The last number that was far, and `highest` at that time."""

    def stored(self, at_s: float) -> StoredLine:
        """The line for a snapshot at `at_s`."""
        seen, lost = (x.to_bytes((x.bit_length() + 7) // 8, "little") for x in (self.seen, self.lost))
        return self.highest, seen, lost, self.span, self.since_timer, at_s - self.gap_at_s, self.far

    @classmethod
    def of_stored(cls, stored: StoredLine) -> Self:
        """The line of a snapshot; the clock stands at 0."""
        line = cls(stored[0], -stored[5])
        line.seen, line.lost = (int.from_bytes(x, "little") for x in stored[1:3])
        _, _, _, line.span, line.since_timer, _, line.far = stored
        return line

    @property
    def pending(self) -> int:
        """The bits of the numbers that are missing and may still come."""
        return ~(self.seen | self.lost) & ((1 << self.span) - 1)


class LineRules(NamedTuple):
    """The rules for the numbers of all senders."""

    window: int
    """So many numbers back a number may come late."""
    wrap: int | None
    """The number of numbers: after `wrap - 1` comes 0. None if numbers only grow."""
    max_jump: int | None
    """A number further ahead is far."""
    restart_at: int | None
    """A device begins with this number after a restart."""

    @property
    def full(self) -> int:
        """`seen` of a line of which nothing is missing."""
        return (1 << self.window) - 1

    def see(self, line: NumberLine, number: int, gaps: list[Gap]) -> tuple[Place, int]:
        """Enter a number. Returns its place, and how many numbers it has skipped.

        Numbers that can no longer come, because the window has passed them, are added to `gaps`. A number
        that was reported before is added with -1.

        A number further back than the window, or too far ahead, is far: one of them may be a stray record.
        If the next number follows it, the sender has restarted (as in RFC 3550, appendix A.1).
        """
        step = self._step(line.highest, number)
        if step > 0 and (self.max_jump is None or step <= self.max_jump):
            self._advance(line, step, number, gaps)
            return ("next" if step == 1 else "gap"), step - 1
        if -self.window < step <= 0:
            bit = 1 << -step
            if not line.seen & bit:
                line.seen |= bit
                if line.lost & bit:
                    line.lost ^= bit
                    gaps.append(Gap(number, number, -1))
                return "late", 0
            if step == 0 or number != self.restart_at:
                return "duplicate", 0
        return self._far(line, number, gaps)

    def _far(self, line: NumberLine, number: int, gaps: list[Gap]) -> tuple[Place, int]:
        if number == self.restart_at:
            self.give_up(line, gaps)
            line.begin(number)
            return "restart", 0
        before, highest = line.far or (0, None)
        step = self._step(before, number)
        if highest != line.highest or not 0 < step <= self.window:
            line.far = number, line.highest
            return "far", 0
        self.give_up(line, gaps)
        line.begin(before)
        self._advance(line, step, number, gaps)
        return "restart", step - 1

    def give_up(self, line: NumberLine, gaps: list[Gap], newest: int = 0) -> None:
        """Report what is missing, except for the last `newest` numbers."""
        bits = line.pending >> newest << newest
        line.lost |= bits
        gaps += self._gaps(line.highest, bits)

    def _step(self, highest: int, number: int) -> int:
        step = number - highest
        if self.wrap is not None:
            step %= self.wrap
            if step > self.wrap // 2:
                step -= self.wrap
        return step

    def _advance(self, line: NumberLine, step: int, number: int, gaps: list[Gap]) -> None:
        leaving = max(0, self.window - step)  # numbers from this bit on leave the window
        gaps += self._gaps(line.highest, line.pending >> leaving << leaving)
        if step > self.window:
            gaps.append(self._gap(line.highest + 1, number - self.window, step - self.window))
        if step < self.window:
            line.seen = (line.seen << step | 1) & self.full
            line.lost = (line.lost << step) & self.full
        else:  # the shift might be as large as the number
            line.seen, line.lost = 1, 0
        line.highest = number
        line.span = min(self.window, line.span + step)
        line.since_timer += step

    def _gaps(self, highest: int, bits: int) -> Iterator[Gap]:
        """The runs of bits as ranges of numbers, in the order of the numbers."""
        while bits:
            top = bits.bit_length()
            run = top - ((1 << top) - 1 ^ bits).bit_length()
            yield self._gap(highest - top + 1, highest - top + run, run)
            bits &= (1 << (top - run)) - 1

    def _gap(self, first: int, last: int, count: int) -> Gap:
        if self.wrap is not None:
            first, last = first % self.wrap, last % self.wrap
        return Gap(first, last, count)
