"""Where records come from in an input that can be read again: which input, and which part of it."""

from typing import NamedTuple


class Tenure:
    """The time in which this process reads a numbered input: a partition of a stream, or a file.

    The parts of the input have ascending numbers, and a part always makes the same records in the same order,
    whoever reads it and however often. A tenure begins with all records of a part, not in the middle of one.
    """

    __slots__ = ("ended", "sequence")

    def __init__(self, sequence: str) -> None:
        self.sequence = sequence
        """The name of the input, the same for everyone who reads it. Another content has another name."""
        self.ended = False
        """Whether another process reads the input now, or may. Sinks then store none of the records that are
        still on their way."""


class InputPart(NamedTuple):
    """The part of an input from which the records of an ack were made."""

    tenure: Tenure
    number: int
