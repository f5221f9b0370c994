"""Takes the frames of a source: counts them before any policy, then buffers them fairly."""

import math
from collections.abc import Callable

from streamd.core.ack import Status
from streamd.core.books import FrameBook
from streamd.core.clock import mono_of, read_clock
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.settings import BufferSettings, WhenFull
from streamd.runtime.connections import Connections
from streamd.runtime.fair_buffer import FairBuffer
from streamd.runtime.meter import Meter

MAX_BATCH_BYTES = 128 * 1024
"""Most bytes of frames that are decoded at once: a batch of usual frames, or two of the largest, which may
each hold thousands of records. Between two such batches the event loop runs other tasks."""


class Intake:
    """The outlet of one source, with the buffer behind it."""

    def __init__(
        self,
        settings: BufferSettings,
        when_full: WhenFull,
        book: FrameBook,
        clock: Callable[[], Now] = read_clock,
    ) -> None:
        self.book = book
        self.meter = Meter(clock().mono_s)
        self._mono_s = mono_of(clock)
        self.buffer = FairBuffer(settings.max_records, settings.max_bytes, when_full, self._drop)
        self.buffer.max_taken_bytes = MAX_BATCH_BYTES
        self.connections = Connections()
        self._least_wait_s = math.inf

    def resize(self, settings: BufferSettings, when_full: WhenFull) -> None:
        """Set other bounds and another policy. No waiting frame is lost."""
        self.buffer.resize(settings.max_records, settings.max_bytes, when_full)
        self._note_state(self._mono_s())

    def offer(self, frames: Frames) -> bool:
        """Take the frames. False: stop reading until the callback of `on_resume` is called."""
        count = len(frames)
        self.book.received += count
        self.meter.entered += count
        if self.connections.counting:
            self.connections.came(frames)
        goes_on = self.buffer.put(frames)
        if self.meter.state != ("busy" if goes_on else "blocked"):
            self._note_state(self._mono_s())
        return goes_on

    def taken(self, count: int, wait_s: float, mono_s: float) -> None:
        """Note that a worker has taken `count` frames out of the buffer.

        `wait_s` is the least wait in the buffer of the frames with which their parts begin.
        """
        self.meter.left += count
        if wait_s < self._least_wait_s:  # noqa: PLR1730 - for each batch; `min` costs three times as much
            self._least_wait_s = wait_s
        if not self.buffer.records or self.meter.state == "blocked":
            self._note_state(mono_s)

    def take_least_wait_s(self) -> float | None:
        """The least wait of the batches taken since the last call (a step of the clock may make it negative).

        None if a worker has taken no frame.
        """
        least_s, self._least_wait_s = self._least_wait_s, math.inf
        return None if least_s == math.inf else least_s

    def refuse(self, n: int, reason: str) -> None:
        """Count frames that the source has read and dropped."""
        self.book.received += n
        self.book.dropped[reason] += n

    def on_resume(self, callback: Callable[[], None]) -> None:
        """Set the callback that is called each time there is room again."""
        self.buffer.on_room = callback

    def ended(self, peer: Peer) -> None:
        """Note that the connection of `peer` has ended, for `Codec.forget` after its last frame."""
        if self.connections.counting:
            self.connections.ended(peer)
            if self.buffer.on_ready is not None:
                self.buffer.on_ready()

    def abandon(self, reason: str = "shutdown") -> int:
        """Drop the waiting and held frames at the end of the drain; returns their number."""
        left = self.buffer.drain()
        self._note_state(self._mono_s())
        for frames in left:
            self._drop(frames, reason)
        held, self.book.held = self.book.held, 0
        if held:  # the codec had no time to release them
            self.book.dropped[reason] += held
        return sum(map(len, left)) + held

    def _note_state(self, mono_s: float) -> None:
        self.meter.to(
            "blocked" if self.buffer.held_back else "busy" if self.buffer.records else "idle", mono_s
        )

    def _drop(self, frames: Frames, reason: str = "buffer_full") -> None:
        self.book.dropped[reason] += len(frames)
        if self.connections.counting:
            self.connections.went(frames)
        frames.settle(Status.DROPPED)
