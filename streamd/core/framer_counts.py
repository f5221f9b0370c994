"""What a framer has counted, entered in the counters of its source."""

from collections.abc import Mapping

from streamd.core.contracts import AnyFramer, Outlet
from streamd.core.counters import Counters
from streamd.core.errors import FramingError

MOST_FRAMES = 4096
"""Frames handed on at once, or those of one datagram if it holds more: what waits outside the buffer."""
LOST_FRAMES = {"oversize_dropped": "oversize", "incomplete": "incomplete"}
"""A framer's counts that are frames which never came out of it, and the reason they were dropped for."""
CUTTING: Mapping[str, str] = {
    "discarded_bytes": "bytes that never became a frame",
    "framing_errors": "connections closed, and datagrams discarded, because their framing was broken",
}
"""What a source counts that cuts with a framer, beside what the framer counts."""


def book_counts(framer: AnyFramer, outlet: Outlet, counters: Counters) -> None:
    """Enter what a framer has counted: lost frames are refused, the rest goes to the source's counters."""
    if not framer.counts:
        return
    counters.declare(framer.counters)
    for name, n in framer.counts.items():
        if name in LOST_FRAMES:
            outlet.refuse(n, LOST_FRAMES[name])
        else:
            counters.add(name, n)
    framer.counts.clear()


def book_error(error: FramingError, counters: Counters) -> None:
    """Enter that the framing broke, and what is lost by it."""
    counters.declare(CUTTING)
    counters.add("discarded_bytes", error.discarded_bytes)
    counters.add("framing_errors", reason=error.reason)
