"""Cuts the content of inputs into frames, as the source of the content would."""

from collections.abc import Callable

from streamd.core.column import Column
from streamd.core.contracts import AnyFramer, SourceContext
from streamd.core.errors import FramingError
from streamd.core.first_frame import FirstFrame, FirstFrameAgain, mark_first
from streamd.core.framer_counts import book_counts, book_error
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.peer import Peer
from streamd.net.datagram_cutter import DatagramCutter
from streamd.runtime.intake import Intake


class SentConnection:
    """One connection to a source of streams, or one followed file, which may be read again."""

    def __init__(self, peer: str, new_framer: Callable[[], AnyFramer], intake: Intake) -> None:
        self.peer = Peer(peer)
        self.is_broken = False
        """Whether the framing is broken. Further bytes are discarded and counted."""
        self._framer = new_framer()
        self._intake = intake
        self._begun = False
        self._first: bytes | None = None
        self._since_mark = b""
        self._begun_at_mark = False

    @property
    def delimiter(self) -> bytes:
        """The bytes that end each frame; empty if the framing has no such bytes."""
        return self._framer.delimiter

    @property
    def unfinished_bytes(self) -> int:
        """Bytes of a frame that has not ended."""
        return self._framer.waiting_bytes

    def send(self, data: bytes, wall_s: float) -> None:
        """Offer the frames that the bytes complete."""
        self._since_mark += data
        if self.is_broken:
            self._intake.book.counters.add("discarded_bytes", len(data))
            return
        try:
            self._offer(self._framer.feed(data), wall_s)
        except FramingError as error:
            self._offer(error.frames, wall_s)
            book_error(error, self._intake.book.counters)
            self.is_broken = True
        book_counts(self._framer, self._intake, self._intake.book.counters)

    def end(self, wall_s: float) -> None:
        """Offer the last frame, and report the end of the connection."""
        if not self.is_broken:
            self._offer(self._framer.feed_eof(), wall_s)
            book_counts(self._framer, self._intake, self._intake.book.counters)
        self._intake.ended(self.peer)

    def mark(self) -> None:
        """Remember the position behind the last whole frame of a file."""
        unfinished = self._framer.waiting_bytes
        self._since_mark = self._since_mark[len(self._since_mark) - unfinished :]
        self._begun_at_mark = self._begun

    def read_again(
        self, new_framer: Callable[[], AnyFramer], intake: Intake, wall_s: float, *, needs_first: bool
    ) -> None:
        """Read a file from the marked position on, after a restart.

        With `needs_first`, the codec gets the first frame of the file again before that.
        """
        self._framer, self._intake, self._begun = new_framer(), intake, self._begun_at_mark
        data, self._since_mark = self._since_mark, b""
        if needs_first and self._begun and self._first is not None:
            intake.offer(Frames.of([FirstFrameAgain(self._first)], self.peer, wall_s))
        if not self.is_broken:
            self.send(data, wall_s)

    def _offer(self, frames: list[bytes], wall_s: float) -> None:
        if not frames:
            return
        self._begun = self._begun or mark_first(frames, self._framer.counts)
        if type(frames[0]) is FirstFrame:
            self._first = frames[0]
        flagged = any(type(frame) is FlaggedFrame for frame in frames)
        self._intake.offer(Frames.of(frames, self.peer, wall_s, flagged=flagged))


def send_datagram(
    data: bytes,
    peer: str,
    wall_s: float,
    name: str,
    new_framer: Callable[[], AnyFramer] | None,
    intake: Intake,
) -> None:
    """Offer the frames of one datagram."""
    sender = Peer(peer)
    if new_framer is None:
        intake.offer(Frames.of([data], sender, wall_s))
        return
    cutter = DatagramCutter(SourceContext(name, intake.book.counters, new_framer), new_framer)
    for frames in cutter.cut([data], Column(sender), wall_s, intake):
        intake.offer(frames)
