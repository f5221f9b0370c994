"""One connection to a listener for byte streams."""

import asyncio
import fcntl
import struct
import termios
from typing import TYPE_CHECKING, Any, cast

import structlog

from streamd.core.clock import read_clock
from streamd.core.column import Column
from streamd.core.contracts import AnyFramer
from streamd.core.errors import BadData, FramingError
from streamd.core.first_frame import mark_first
from streamd.core.framer_counts import book_counts, book_error
from streamd.core.frames import FRAME_OVERHEAD_BYTES, FlaggedFrame, Frames
from streamd.core.inflating import Inflating
from streamd.core.peer import Peer

if TYPE_CHECKING:
    from streamd.net.stream_source import StreamSource

log = structlog.get_logger()


class StreamConnection(asyncio.BufferedProtocol):
    """The protocol object of one connection: cuts its bytes into frames and checks its timeouts.

    A compressed stream is decompressed in pieces, one in each turn of the loop. While pieces are left, also
    in a full buffer, no further bytes are read. So a connection holds one read of compressed bytes and one
    piece.
    """

    __slots__ = (
        "_begun", "_framer", "_idle_since_mono_s", "_inflating", "_lost", "_peer", "_silent", "_since_mono_s",
        "_source", "_started", "_transport", "_turn", "made", "sender",
    )  # fmt: skip

    def __init__(self, source: "StreamSource[Any]", peer: Peer, sender: str | None) -> None:
        self.sender = sender
        self.made = False
        """Whether the connection has, or had, a transport."""
        self._source = source
        self._framer: AnyFramer | None = None
        self._inflating: Inflating | None = None
        """What decompresses the stream; None if the source does not decompress, and after the end."""
        self._turn: asyncio.Handle | None = None
        """The turn in which the next piece is decompressed."""
        self._lost = False
        """Whether the transport is gone while pieces are left."""
        self._transport: asyncio.Transport | None = None
        self._peer = peer
        self._started = False
        self._begun = False
        """Whether the first frame was handed on, or lost."""
        self._silent = False
        """Whether the connection was silent between the last two checks of the timeouts."""
        self._idle_since_mono_s = 0.0
        """The last check that found new data; the silence began after it."""
        self._since_mono_s = 0.0
        """When the connection opened; after its first byte, when the unfinished frame began (0: none)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read, or refuse the connection if the source has stopped meanwhile."""
        transport = cast("asyncio.Transport", transport)  # uvloop's transport is no subclass of it
        source = self._source
        self.made = True
        if source.stopped:
            source.refuse("stopping")
            transport.abort()
            return
        source.context.counters.add("connections")
        self._transport = transport
        self._framer = source.new_framer()
        if (compression := source.config.inflated_by) is not None:
            self._inflating = Inflating(compression)
        self._since_mono_s = read_clock().mono_s
        source.connections.add(self)
        # uvloop begins to read after this method returns, so a pause made here would have no effect.
        asyncio.get_running_loop().call_soon(self.pause)

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer for the next read."""
        return self._source.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes of one read."""
        self.take(bytes(self._source.read_buffer[:nbytes]))

    def take(self, data: bytes) -> None:
        """Cut received bytes, or the content that was compressed to them, and hand on the complete frames."""
        if self._inflating is None:
            self._cut(data)
            return
        if not self._started:  # a header of gzip is no unfinished frame
            self._started, self._since_mono_s = True, 0.0
        self._silent = False
        self._inflating.feed(data)
        if self._turn is None and not self._lost:
            self._inflate()

    def _inflate(self) -> None:
        """Decompress and cut one piece. The next one has a turn of its own, once the buffer has room."""
        self._turn = None
        inflating = self._inflating
        if inflating is None or self._source.paused:
            return
        try:
            if piece := inflating.next():
                self._cut(piece)
        except BadData as bad:
            self._refuse_content(inflating, bad)
            self._close()
        if self._inflating is None or not inflating.pending:
            self._go_on()
        elif not self._source.paused:
            self._turn = asyncio.get_running_loop().call_soon(self._inflate)
            self.pause()

    def _go_on(self) -> None:
        """Read on after the last piece; or end, if the transport is gone meanwhile."""
        if self._lost:
            self._flush()
            self._leave()
            return
        transport = self._transport
        if self._source.paused or transport is None or transport.is_closing():
            return
        if not transport.is_reading():
            transport.resume_reading()

    @property
    def _has_pieces(self) -> bool:
        """Whether bytes that were read are not decompressed yet."""
        return self._inflating is not None and self._inflating.pending

    def _refuse_content(self, inflating: Inflating, bad: BadData) -> None:
        """Count a stream that cannot be decompressed. The frames before the fault are handed on."""
        self._inflating = None
        context = self._source.context
        book_error(FramingError(bad.reason, [], inflating.waiting_bytes), context.counters)
        shown = context.shown(self._peer)
        log.warning("framing_error", source=context.name, peer=shown, reason=bad.reason)
        self._flush()

    def _cut(self, data: bytes) -> None:
        """Cut bytes of the stream and hand on the complete frames."""
        framer = self._framer
        if framer is None:
            return
        fed_bytes = framer.waiting_bytes + len(data)
        try:
            frames = framer.feed(data)
        except FramingError as error:
            book_error(error, self._source.context.counters)
            context = self._source.context
            log.warning(
                "framing_error", source=context.name, peer=context.shown(self._peer), reason=error.reason
            )
            self._framer = self._inflating = None
            self._hand_on(framer, error.frames, fed_bytes)
            self._close()
            return
        if framer.between_frames:
            self._since_mono_s = 0.0
        elif not self._since_mono_s or frames or not self._started or _ended_a_frame(framer):
            self._since_mono_s = read_clock().mono_s
        self._started = True
        self._silent = False
        self._hand_on(framer, frames, fed_bytes - framer.waiting_bytes)

    def eof_received(self) -> bool:
        """The sender has ended its side. The transport closes."""
        self._flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection was closed by either side, or reset."""
        self._lost = self._has_pieces  # they are decompressed first
        if not self._lost:
            self._flush()
            self._leave()

    def _leave(self) -> None:
        self._source.outlet.ended(self._peer)
        self._source.leave(self)

    @property
    def unread_bytes(self) -> int:
        """Bytes that the kernel has received and the source has not read."""
        if self._transport is None or self._transport.is_closing():
            return 0
        handle = self._transport.get_extra_info("socket").fileno()
        (count,) = struct.unpack("i", fcntl.ioctl(handle, termios.FIONREAD, b"\0" * 4))
        return int(count)

    def end(self) -> None:
        """Close because the source stops. Unread bytes are counted: a sender may not notice their loss."""
        inflating, self._inflating = self._inflating, None
        waiting_bytes = 0 if inflating is None else inflating.waiting_bytes
        if unread_bytes := self.unread_bytes + waiting_bytes:
            self._source.context.counters.add("unread_bytes", unread_bytes)
        self._flush()
        self._close()
        if self._lost:
            self._leave()

    def pause(self) -> None:
        """Stop reading while the buffer is full. The TCP window closes, so the sender waits."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if (self._source.paused or self._has_pieces) and transport.is_reading():
            transport.pause_reading()

    def resume(self, now_mono_s: float) -> None:
        """Read on. The pause counts towards no timeout, because the sender did not cause it."""
        if self._since_mono_s:
            self._since_mono_s = now_mono_s
        self._silent = False
        if self._has_pieces:
            if self._turn is None:
                self._turn = asyncio.get_running_loop().call_soon(self._inflate)
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def check_timeouts(self, now_mono_s: float) -> None:
        """Close the connection if its first byte, the end of a frame, or any data is overdue."""
        reason = None if self._has_pieces else self._overdue(now_mono_s)
        if reason is not None:
            self._inflating = None
            self._source.context.counters.add("connections_closed", reason=reason)
            self._flush()
            self._close()

    def _overdue(self, now_mono_s: float) -> str | None:
        """The key of the timeout that has passed. `idle_timeout` needs no clock reading for each read."""
        config = self._source.config
        if self._since_mono_s:
            reason = "frame_timeout" if self._started else "first_byte_timeout"
            if now_mono_s - self._since_mono_s >= getattr(config, reason):
                return reason
        if not self._silent:
            self._silent = self._started
            self._idle_since_mono_s = now_mono_s
        elif config.idle_timeout is not None and now_mono_s - self._idle_since_mono_s >= config.idle_timeout:
            return "idle_timeout"
        return None

    def _flush(self) -> None:
        """Hand on the last frame after the end of the stream.

        While pieces are left, this does nothing: the end of the connection calls it behind the last piece.
        """
        if self._has_pieces:
            return
        inflating, self._inflating = self._inflating, None
        if inflating is not None:
            try:
                inflating.end()
            except BadData as bad:
                self._refuse_content(inflating, bad)
        framer, self._framer = self._framer, None
        if framer is not None:
            fed_bytes = framer.waiting_bytes
            self._hand_on(framer, framer.feed_eof(), fed_bytes)

    def _close(self) -> None:
        if self._transport is not None and not self._lost:
            self._transport.abort()

    def _hand_on(self, framer: AnyFramer, frames: list[bytes], fed_bytes: int) -> None:
        """Book the framer's counts and offer its frames, which hold at most `fed_bytes` bytes."""
        flagged = framer.counts != {} and any(type(frame) is FlaggedFrame for frame in frames)
        self._begun = self._begun or mark_first(frames, framer.counts)
        book_counts(framer, self._source.outlet, self._source.context.counters)
        if frames:
            size_bytes = fed_bytes + FRAME_OVERHEAD_BYTES * len(frames)
            wall_s = read_clock().wall_s
            self._source.offer(
                Frames(frames, Column(self._peer), Column(wall_s), flagged=flagged, size_bytes=size_bytes)
            )
            self.pause()  # a connection made during the pause may have read once


def _ended_a_frame(framer: AnyFramer) -> bool:
    """Whether the last read ended a lost or empty frame, so that a new frame is unfinished now."""
    return any(counter != "discarded_bytes" for counter in framer.counts)
