"""How much a rate varies, measured by sums over blocks of time."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

BLOCK_S = 0.4
"""The least length of a block, a little shorter than the time between two observations."""
FEWEST_BLOCKS = 4
"""Fewer blocks show no variance."""
_FEWEST_GROUPS = 8
_LONGEST_GROUP = 16


class Block(NamedTuple):
    """What was counted in some seconds."""

    seconds: float
    total: float
    begun_mono_s: float = 0.0


def rate_per_s(blocks: Sequence[Block]) -> float:
    """The mean rate."""
    seconds = sum(block.seconds for block in blocks)
    return sum(block.total for block in blocks) / seconds if seconds > 0 else 0.0


def variance_per_s(blocks: Sequence[Block]) -> float | None:
    """The variance rate: the variance of a sum over t seconds is t times this. None from too few blocks.

    In bursts neighbours vary together, so that short blocks show too little (batch means; Law and Carson,
    1979), and long ones miss bursts of their own length. So blocks are joined to groups of 2, 4, 8 and 16, as
    far as there are enough of them, and the largest variance counts. Each is enlarged as the distribution of
    Student is wider than the normal, because a variance from few values is uncertain.
    """
    if len(blocks) < FEWEST_BLOCKS:
        return None
    found = _spread(blocks)
    length = 2
    while length <= _LONGEST_GROUP and len(blocks) // length >= _FEWEST_GROUPS:
        found = max(found, _spread(_joined(blocks, length)))
        length *= 2
    return found


def _joined(blocks: Sequence[Block], length: int) -> list[Block]:
    """Groups of `length` blocks; the newest ones if they do not divide."""
    begin = len(blocks) % length
    return [
        Block(
            sum(block.seconds for block in blocks[index : index + length]),
            sum(block.total for block in blocks[index : index + length]),
        )
        for index in range(begin, len(blocks), length)
    ]


def _spread(blocks: Sequence[Block]) -> float:
    """The mean square of the deviations from the mean rate, for blocks whose length differs a little."""
    mean = rate_per_s(blocks)
    squares = sum((block.total - mean * block.seconds) ** 2 / block.seconds for block in blocks)
    freedom = len(blocks) - 1
    return squares / (freedom - 2)


class Blocks:
    """Cuts a cumulative counter into blocks and keeps the newest."""

    __slots__ = ("_begun_count", "_begun_mono_s", "kept")

    def __init__(self, most: int) -> None:
        self.kept: deque[Block] = deque(maxlen=most)
        self._begun_mono_s: float | None = None
        self._begun_count = 0.0

    def observe(self, mono_s: float, count: float) -> Block | None:
        """Enter the counter; returns the block that has ended with it, not yet in `kept`."""
        if self._begun_mono_s is None:
            self._begun_mono_s, self._begun_count = mono_s, count
            return None
        seconds = mono_s - self._begun_mono_s
        if seconds < BLOCK_S:
            return None
        ended = Block(seconds, count - self._begun_count, self._begun_mono_s)
        self._begun_mono_s, self._begun_count = mono_s, count
        return ended
