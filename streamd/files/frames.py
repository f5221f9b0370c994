"""Cuts the content of followed files into frames, and hands on each batch with the position behind it."""

from collections.abc import Callable

from streamd.core.clock import read_clock
from streamd.core.contracts import AnyFramer, Outlet
from streamd.core.counters import Counters
from streamd.core.errors import FramingError
from streamd.core.first_frame import FirstFrame, FirstFrameAgain, mark_first
from streamd.core.framer_counts import book_counts
from streamd.core.frames import FRAME_OVERHEAD_BYTES, Frames
from streamd.core.peer import Peer
from streamd.files.position import Position, ReadingProgress
from streamd.files.tail import Tail


class FileFrames:
    """Cuts one file after another. If a file continues in its copy, a frame may continue there too."""

    def __init__(
        self,
        address: str,
        counters: Counters,
        new_framer: Callable[[], AnyFramer],
        progress: ReadingProgress,
        *,
        needs_first: bool = False,
    ) -> None:
        """`needs_first`: the codec needs the file's first frame (a header) to decode later ones."""
        self._needs_first = needs_first
        self._address = address
        self._counters = counters
        self._progress = progress
        self._new_framer = new_framer
        self._framer = new_framer()
        self._digest = self._framer.digest
        progress.cut_by(self._digest)
        self._following: Callable[[], AnyFramer] | None = None
        """The framing that takes the place of this one when that is possible."""
        self._reached = Position(address, 0, 0, b"")
        self._peer = Peer(address)
        """A new object for each file, because each file is a sender of its own."""
        self._begun = False
        """Whether the first frame of the file was handed on, or lost."""

    def open(self, outlet: Outlet, when_full: Callable[[], None]) -> None:
        """Set the outlet for frames. `when_full` is called if it is full."""
        self._outlet = outlet
        self._when_full = when_full
        self._framer = self._new_framer()

    def begin_at(self, position: Position) -> None:
        """Set the position of the data that is fed next."""
        self._reached = position
        self._begun = position.offset > 0
        self._progress.passed(position)

    def become(self, new_framer: Callable[[], AnyFramer], *, needs_first: bool = False) -> None:
        """Change the framing at the next end of a frame, behind the frames that are only counted."""
        self._needs_first = needs_first
        self._following = new_framer
        self._change_framing()

    def _change_framing(self) -> None:
        if self._framer.between_frames and not self._framer.waiting_bytes and self._use_following():
            self._framer = self._new_framer()
            self._progress.cut_by(self._digest)

    def _use_following(self) -> bool:
        """Let the next framer be one of the new framing, if there is one and no frame has to be skipped."""
        if self._following is None or self._progress.is_skipping:
            return False
        self._new_framer, self._following = self._following, None
        self._digest = self._new_framer().digest
        return True

    def feed(self, tail: Tail, data: bytes, skip_rest: FramingError | None = None) -> FramingError | None:
        """Hand on the frames that `data`, read from `tail`, completes.

        If the data breaks the framing, the error is returned and no frame is handed on. The caller then
        skips the rest of the file and calls again with the error as `skip_rest`.
        """
        framer = self._framer
        if skip_rest is None:
            self._fed_bytes = framer.waiting_bytes + len(data)
            try:
                frames = framer.feed(data)
            except FramingError as error:
                return error
        else:
            frames = skip_rest.frames
            self._use_following()
            self._framer = self._new_framer()
        waiting_bytes = self._framer.waiting_bytes
        position = self._reached  # while the rest of a truncated frame is skipped, no new position is safe
        if waiting_bytes or self._framer.between_frames:
            position = tail.position(self._address, tail.offset - waiting_bytes)
        self._hand_on(framer, frames, self._fed_bytes - waiting_bytes, position)
        self._progress.cut_by(self._digest)
        self._change_framing()
        return None

    def end(self, following: Position) -> None:
        """The file has ended: hand on its unfinished frame, and set the position to `following`."""
        self._use_following()
        framer, self._framer = self._framer, self._new_framer()
        size_bytes = framer.waiting_bytes
        frames = framer.feed_eof()
        self._hand_on(framer, frames, size_bytes, following)
        self._progress.cut_by(self._digest)
        self._outlet.ended(self._peer)
        self._peer = Peer(self._address)
        self._begun = False

    def show_first(self, frame: bytes) -> None:
        """Hand on the first frame of a file again, because reading resumes at a later offset."""
        again = Frames.of(
            [FirstFrameAgain(frame)], self._peer, read_clock().wall_s, ack=self._progress.again()
        )
        if not self._outlet.offer(again):
            self._when_full()

    def _hand_on(self, framer: AnyFramer, frames: list[bytes], size_bytes: int, position: Position) -> None:
        """Offer frames. Once they are settled, everything before `position` is settled."""
        flagged = bool(framer.counts)
        self._begun = self._begun or mark_first(frames, framer.counts)
        book_counts(framer, self._outlet, self._counters)
        self._reached = position
        if known := self._progress.known(len(frames)):
            if self._needs_first and type(frames[0]) is FirstFrame:
                self.show_first(frames[0])
            frames = frames[known:]
            self._counters.add("already_in_state", known)
        if not frames:
            self._progress.passed(position)
            return
        parts = self._progress.parts(len(frames))
        batch = Frames.of(
            frames,
            self._peer,
            read_clock().wall_s,
            ack=self._progress.waiting(position, len(frames)),
            flagged=flagged,
            size_bytes=size_bytes + FRAME_OVERHEAD_BYTES * len(frames),
        )
        for count in parts[:-1]:
            part, batch = batch.split(count)
            self._outlet.offer(part)
        if not self._outlet.offer(batch):
            self._when_full()
