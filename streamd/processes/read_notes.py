"""What a process that was killed had taken from the kernel and not counted yet."""

from collections.abc import Iterator

from streamd.core.books import FrameBook
from streamd.net.recvmmsg import HEADERS_BYTES, taken
from streamd.processes.shared_numbers import SharedNumbers

UNIT = "reads"
"""The first word of the names of these numbers."""


class SharedReadNotes:
    """The notes of one source of datagrams, in the memory that outlives its process.

    A datagram leaves the socket's queue within a system call that a kill does not interrupt. So some are read
    that no code of the process has ever seen. The kernel reports each in an array, which is here.
    """

    def __init__(
        self, headers: memoryview, cells: "memoryview[int]", book: FrameBook, counted_drops: int | None
    ) -> None:
        """`cells`: whether a read is open, and the frames that were received before it."""
        self.headers = headers
        self.counted_drops = counted_drops
        self._cells = cells
        self._book = book

    def begin(self) -> None:
        """A read begins: everything that was read before is counted."""
        self._cells[1] = self._book.received
        self._cells[0] = 1

    def end(self) -> None:
        """All datagrams of the read are counted."""
        self._cells[0] = 0


def notes_in(numbers: SharedNumbers, book: FrameBook, counted_drops: int | None) -> SharedReadNotes | None:
    """New notes of a source; None if there is no room for them."""
    first, last = (numbers.place(UNIT, book.source, word) for word in ("is_open", "received"))
    headers = numbers.block(HEADERS_BYTES, UNIT, book.source, "block")
    if first is None or last is None or headers is None:
        return None
    return SharedReadNotes(headers, numbers.cells[first : last + 1], book, counted_drops)


def uncounted(numbers: SharedNumbers) -> Iterator[tuple[str, int]]:
    """The number of datagrams that each source had taken and not counted at the end of its process.

    If a framing cuts datagrams, those of which it had counted frames already are taken for counted.
    """
    found = dict(numbers.items())
    for name, is_open in found.items():
        if name[0] != UNIT or name[-1] != "is_open" or not is_open:
            continue
        _, source, _ = name
        counted = found["frames", source, "received"] - found[UNIT, source, "received"]
        block = numbers.block_at(found[UNIT, source, "block"], HEADERS_BYTES)
        yield source, max(0, taken(block) - counted)
