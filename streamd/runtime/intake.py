"""Where a source puts what it reads: counted before any policy, then buffered fairly."""

from collections.abc import Callable

from streamd.core.ack import Status
from streamd.core.books import FrameBook
from streamd.core.frames import Frames
from streamd.core.settings import BufferSettings, WhenFull
from streamd.runtime.fair_buffer import FairBuffer

MAX_BATCH_BYTES = 128 * 1024
"""Frames that are decoded in one go: a batch of usual ones, or two of the largest, which may each hold
thousands of records. The loop turns in between."""


class Intake:
    """The outlet of one source, with the buffer behind it."""

    def __init__(self, settings: BufferSettings, when_full: WhenFull, book: FrameBook) -> None:
        self.book = book
        self.buffer = FairBuffer(settings.max_records, settings.max_bytes, when_full, self._drop)
        self.buffer.max_taken_bytes = MAX_BATCH_BYTES

    def resize(self, settings: BufferSettings, when_full: WhenFull) -> None:
        """Other bounds and policy for what comes; nothing that waits is lost by it."""
        self.buffer.resize(settings.max_records, settings.max_bytes, when_full)

    def offer(self, frames: Frames) -> bool:
        """Take the frames; False: stop reading until the callback of `on_resume` comes."""
        self.book.received += len(frames)
        return self.buffer.put(frames)

    def refuse(self, n: int, reason: str) -> None:
        """Count frames that the source has read and gives up."""
        self.book.received += n
        self.book.dropped[reason] += n

    def on_resume(self, callback: Callable[[], None]) -> None:
        """Have `callback` called each time there is room again."""
        self.buffer.on_room = callback

    def abandon(self, reason: str = "shutdown") -> int:
        """Drop what still waits when nobody will work on it any more; how many frames it was."""
        left = self.buffer.drain()
        for frames in left:
            self._drop(frames, reason)
        return sum(map(len, left))

    def _drop(self, frames: Frames, reason: str = "buffer_full") -> None:
        self.book.dropped[reason] += len(frames)
        if frames.ack is not None:
            frames.ack.settle(Status.DROPPED)
