"""Moves the counts of a framer to the books of its source."""

from collections.abc import Mapping

from streamd.core.contracts import AnyFramer, Outlet
from streamd.core.counters import Counters
from streamd.core.errors import FramingError

MOST_FRAMES = 4096
"""Most frames that wait outside the buffer before they are offered; one datagram may hold more."""
LOST_FRAMES = {"oversize_dropped": "oversize", "incomplete": "incomplete"}
"""Counts of frames that a framer has lost, and the reason of the drop in the books."""
CUTTING: Mapping[str, str] = {
    "discarded_bytes": "bytes that never became a frame",
    "framing_errors": "connections closed, and datagrams discarded, because their framing or compression"
    " was broken",
}
"""Further counters of a source with a framer."""


def book_counts(framer: AnyFramer, outlet: Outlet, counters: Counters) -> None:
    """Count lost frames as refused, and add the other counts of the framer to the counters of the source."""
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
    """Count a broken stream and the bytes that were discarded."""
    counters.declare(CUTTING)
    counters.add("discarded_bytes", error.discarded_bytes)
    counters.add("framing_errors", reason=error.reason)
