"""Cuts datagrams into frames with a framing."""

from collections.abc import Callable, Iterator

import structlog

from streamd.core.column import Column
from streamd.core.contracts import AnyFramer, Outlet, SourceContext
from streamd.core.errors import FramingError
from streamd.core.framer_counts import LOST_FRAMES, MOST_FRAMES, book_counts, book_error
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.peer import Peer

log = structlog.get_logger()


class DatagramCutter:
    """Cuts each datagram with a framer of its own, so no frame continues in the next datagram.

    The end of a datagram ends its last line, which is not flagged `unterminated`. A single NUL behind the
    last LF ends a C string and is no line. A counted frame that is cut short is dropped as `incomplete`. If
    a datagram breaks the framing, the rest of it is dropped as one frame (`framing`). A datagram without any
    frame becomes one frame unchanged, so that every datagram is in the books.
    """

    def __init__(self, context: SourceContext, new_framer: Callable[[], AnyFramer]) -> None:
        self._source = context.name
        self._shown = context.shown
        self._counters = context.counters
        self._new_framer = new_framer

    def cut(
        self, payloads: list[bytes], peers: Column[Peer], wall_s: float, outlet: Outlet
    ) -> Iterator[Frames]:
        """The frames of all datagrams in order, in pieces of about `MOST_FRAMES`; datagrams are not divided.

        Lost frames are counted with `outlet.refuse`.
        """
        frames: list[bytes] = []
        rows: list[int] = []
        for index, payload in enumerate(payloads):
            found = self._of_datagram(payload, peers[index], outlet)
            frames += found
            rows += [index] * len(found)
            if len(frames) >= MOST_FRAMES:
                yield _handed_on(frames, peers.take(rows), wall_s)
                frames, rows = [], []
        if frames:
            yield _handed_on(frames, peers.take(rows), wall_s)

    def _of_datagram(self, payload: bytes, peer: Peer, outlet: Outlet) -> list[bytes]:
        framer = self._new_framer()
        try:
            frames = framer.feed(payload) + framer.feed_eof()
        except FramingError as error:
            frames = error.frames
            book_error(error, self._counters)
            if LOST_FRAMES.keys().isdisjoint(framer.counts):
                outlet.refuse(1, "framing")
            log.warning("framing_error", source=self._source, peer=self._shown(peer), reason=error.reason)
        else:
            if framer.counts.pop("unterminated", 0):
                last = bytes(frames.pop())
                if last != b"\0" or not frames:
                    frames.append(last)
            if not frames and not framer.counts:
                return [payload]
        if type(payload) is FlaggedFrame and frames:  # the end of the datagram is lost
            frames[-1] = FlaggedFrame(frames[-1], payload.flag)
        book_counts(framer, outlet, self._counters)
        return frames


def _handed_on(frames: list[bytes], peers: Column[Peer], wall_s: float) -> Frames:
    flagged = any(type(frame) is FlaggedFrame for frame in frames)
    return Frames(frames, peers, Column(wall_s), flagged=flagged)
