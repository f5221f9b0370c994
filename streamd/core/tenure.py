"""Inputs that can be read again: who reads one, which part records come from, and what is stored of it."""

from collections.abc import Callable
from typing import NamedTuple


class Tenure:
    """The time in which this process reads a numbered input: a partition of a stream, or a file.

    The parts of the input have ascending numbers, and a part makes the same records in the same order
    each time that a process reads it. A tenure begins with all records of a part, not in the middle of one.
    """

    __slots__ = ("_on_end", "ended", "has_own_state", "is_new", "is_shared", "sequence")

    def __init__(
        self, sequence: str, on_end: Callable[[str], None] | None = None, *, is_shared: bool = True
    ) -> None:
        """`on_end` is called with the reason for which somebody else than the source ends the tenure."""
        self.sequence = sequence
        """The name of the input, the same for everyone who reads it. Another content has another name."""
        self.is_shared = is_shared
        """Whether another process may read the input next. If not, the sinks that store no positions take its
        records as those of any other source."""
        self.ended = False
        """Whether another process reads the input now, or may. Sinks then store none of the records that are
        still on their way."""
        self.is_new = False
        """Whether nobody has claimed the input at one of the sinks before."""
        self.has_own_state = False
        """Whether steps with state have an instance for this input."""
        self._on_end = on_end

    def end(self, reason: str) -> None:
        """End it: a sink has found that another process reads the input, or does not know the tenure."""
        if not self.ended:
            self.ended = True
            if self._on_end is not None:
                self._on_end(reason)


class InputPart(NamedTuple):
    """The part of an input from which the records of an ack were made."""

    tenure: Tenure
    number: int
    wall_s: float | None = None
    """When the part was stored in the input, which is the time for steps that read it (wall clock, seconds);
    None if that is unknown."""
    frames: int = 1
    """How many frames it has, if they are numbered. The first has `number`, the others the next numbers."""

    @property
    def last(self) -> int:
        """The number of its last frame."""
        return self.number + self.frames - 1

    def divided(self, count: int) -> "tuple[InputPart, InputPart]":
        """The first `count` frames and the rest, as two parts."""
        rest = InputPart(self.tenure, self.number + count, self.wall_s, self.frames - count)
        return InputPart(self.tenure, self.number, self.wall_s, count), rest


class StoredUpTo(NamedTuple):
    """All records of the parts before `number` are stored, and the first `rows` records of this part."""

    number: int
    rows: int


BEGINNING = StoredUpTo(0, 0)
"""Nothing is stored. Parts are numbered from 1."""


class Claimed(NamedTuple):
    """What a sink has stored of an input."""

    stored: StoredUpTo
    state: bytes | None
    """What was last stored with `Sink.keep_state`; None if nothing was."""
