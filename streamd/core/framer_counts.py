"""What a framer has counted, entered in the book of its source."""

from streamd.core.books import FrameBook
from streamd.core.contracts import AnyFramer, Outlet

MOST_FRAMES = 4096
"""Frames handed on at once, or those of one datagram if it holds more: what waits outside the buffer."""
LOST_FRAMES = {"oversize_dropped": "oversize", "incomplete": "incomplete"}
"""A framer's counts that are frames which never came out of it, and the reason they were dropped for."""


def book_counts(framer: AnyFramer, outlet: Outlet, book: FrameBook) -> None:
    """Enter what a framer has counted: lost frames are refused, the rest is noted."""
    for counter, n in framer.counts.items():
        lost_as = LOST_FRAMES.get(counter)
        if lost_as is None:
            book.note(counter, n)
        else:
            outlet.refuse(n, lost_as)
    framer.counts.clear()
