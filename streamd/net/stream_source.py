"""The common base of listeners for byte streams, which cut each connection's bytes into frames."""

import asyncio
import fcntl
import socket
import struct
import termios
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar, cast

import structlog

from streamd.core.clock import read_clock
from streamd.core.column import Column
from streamd.core.contracts import AnyFramer, Outlet, Source, SourceContext
from streamd.core.errors import ConfigError, FramingError
from streamd.core.even_share import AWAY, EvenShare
from streamd.core.first_frame import mark_first
from streamd.core.framer_counts import CUTTING, book_counts, book_error
from streamd.core.frames import FRAME_OVERHEAD_BYTES, FlaggedFrame, Frames
from streamd.core.multiline_settings import JOINING
from streamd.core.peer import Peer
from streamd.net.acceptor import Acceptor
from streamd.net.connection_settings import ConnectionSettings
from streamd.net.limits import ConnectionLimits

log = structlog.get_logger()

READ_BYTES = 65536
"""Largest read: a few hundred usual lines, few enough that their frames stay in the processor's cache."""
SWEEP_S = 1.0
"""Seconds between two checks of the timeouts, and so their precision."""
_CLOSING_TURNS = 3
"""Turns of the loop to wait in `stop`. A connection accepted before it gets its transport in the next turn
and is closed two turns later."""


C = TypeVar("C", bound=ConnectionSettings)
"""The settings of a listener of byte streams."""


class StreamSource(Source[C]):
    """A listener for connections. A full buffer pauses all of them, so that the senders wait."""

    counters: ClassVar[Mapping[str, str]] = {
        **CUTTING,
        **JOINING,
        "connections": "connections accepted",
        "connections_refused": "connections refused, by the limit that refused them",
        "connections_closed": "connections that the daemon closed, by the timeout",
        "unread_bytes": "bytes of connected senders that the kernel still held when the source stopped",
    }

    def __init__(self, config: C, context: SourceContext) -> None:
        super().__init__(config, context)
        if context.new_framer is None:
            raise ConfigError("a stream needs a framing")
        self.new_framer = context.new_framer
        self.connections: set[StreamConnection] = set()
        self.paused = False
        self.stopped = False
        # All connections share one buffer, because a read fills and empties it within one callback.
        self.read_buffer = memoryview(bytearray(READ_BYTES))
        self.limits = ConnectionLimits(config, read_clock().mono_s)
        self._acceptor: Acceptor | None = None
        self._share: EvenShare | None = None
        self._adopting: set[asyncio.Task[Any]] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    def become(self, config: C, context: SourceContext) -> None:
        """Take over new settings. Open connections stay and keep their framing."""
        if context.new_framer is None:
            raise ConfigError("a stream needs a framing")
        super().become(config, context)
        self.new_framer = context.new_framer
        self.limits.become(config, read_clock().mono_s)

    @property
    def open_connections(self) -> int:
        """Connections open now."""
        return len(self.connections)

    @abstractmethod
    def peer_of(self, sock: socket.socket, address: Any) -> Peer:
        """The peer of a connection that was accepted from `address`."""

    @abstractmethod
    def sender_of(self, peer: Peer) -> str | None:
        """The sender under which the peer's connections are counted for `max_connections_per_sender`.

        None: the connection has to name its sender first.
        """

    def refuses(self, peer: Peer) -> str | None:
        """The reason code if `peer` may not connect, else None."""
        del peer
        return None

    def refuses_client(self, client: Peer) -> str | None:
        """The reason code if a proxy may not connect for `client`, else None."""
        return self.refuses(client)

    def new_connection(self, peer: Peer, sender: str | None) -> "StreamConnection":
        """The protocol object of an admitted connection."""
        return StreamConnection(self, peer, sender)

    def give_back(self) -> bool:
        """Release the socket, after the last accept. True if no other process holds it."""
        return True

    def accept(self, outlet: Outlet, sock: socket.socket, share: EvenShare | None = None) -> None:
        """Listen on the bound socket and accept connections. The source closes the socket in `stop`.

        `share`: the part of this process, if others accept from the same socket.
        """
        self.outlet = outlet
        self._share = share
        self._note_open()
        self._loop = asyncio.get_running_loop()
        outlet.on_resume(self._resume)
        self._acceptor = Acceptor(sock, self.context.name, self._admit, self.refuse, share)
        self._acceptor.open()
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    async def stop(self) -> None:
        """Stop accepting and reading. An unfinished line is delivered with the flag `unterminated`."""
        if self._acceptor is None:
            return
        acceptor, self._acceptor = self._acceptor, None
        self.stopped = True
        self._note_open()
        if self._sweeper is not None:
            self._sweeper.cancel()
        acceptor.close(is_last=self.give_back())
        for connection in list(self.connections):
            connection.end()
        for _ in range(_CLOSING_TURNS):
            await asyncio.sleep(0)
        for task in self._adopting:
            task.cancel()
        if self._adopting:
            await asyncio.wait(self._adopting)

    def _note_open(self) -> None:
        """Tell the other processes how many connections are open here, or that none is accepted any more."""
        if self._share is not None:
            self._share.note(AWAY if self.stopped else self.limits.open)

    def _admit(self, sock: socket.socket, address: Any) -> None:
        """Count an accepted connection and give it a transport, or refuse it."""
        peer = self.peer_of(sock, address)
        sender = self.sender_of(peer)
        refused = self.refuses(peer) or self.limits.enter(sender, read_clock().mono_s)
        if refused is not None:
            self.refuse(refused)
            sock.close()
            return
        self._note_open()
        connection = self.new_connection(peer, sender)
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: connection, sock))
        self._adopting.add(task)

        def adopted(_: asyncio.Task[Any]) -> None:
            self._adopting.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self.refuse("failed")
                log.warning(
                    "connection_failed",
                    source=self.context.name,
                    peer=self.context.shown(peer),
                    error=repr(error),
                )
            if not connection.made:
                sock.close()
                self.leave(connection)

        task.add_done_callback(adopted)

    def refuse(self, reason: str) -> None:
        """Count a connection that is refused."""
        self.context.counters.add("connections_refused", reason=reason)

    def leave(self, connection: "StreamConnection") -> None:
        """Forget an admitted connection that is over."""
        self.connections.discard(connection)
        self.limits.leave(connection.sender)
        self._note_open()

    def offer(self, frames: Frames) -> None:
        """Offer frames to the outlet. If the buffer is full, pause every connection at once."""
        if self.outlet.offer(frames) or self.paused:
            return
        self.paused = True
        for connection in self.connections:
            connection.pause()

    def _resume(self) -> None:
        self.paused = False
        now_mono_s = read_clock().mono_s
        for connection in self.connections:
            connection.resume(now_mono_s)

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
        if not self.paused:
            now_mono_s = read_clock().mono_s
            for connection in list(self.connections):
                connection.check_timeouts(now_mono_s)


class StreamConnection(asyncio.BufferedProtocol):
    """The protocol object of one connection: cuts its bytes into frames and checks its timeouts."""

    __slots__ = (
        "_begun", "_framer", "_idle_since_mono_s", "_peer", "_silent", "_since_mono_s", "_source", "_started",
        "_transport", "made", "sender",
    )  # fmt: skip

    def __init__(self, source: StreamSource[Any], peer: Peer, sender: str | None) -> None:
        self.sender = sender
        self.made = False
        """Whether the connection has, or had, a transport."""
        self._source = source
        self._framer: AnyFramer | None = None
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
        """Cut received bytes and hand on the complete frames."""
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
            self._framer = None
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
        self._flush()
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
        if unread_bytes := self.unread_bytes:
            self._source.context.counters.add("unread_bytes", unread_bytes)
        self._flush()
        self._close()

    def pause(self) -> None:
        """Stop reading while the buffer is full. The TCP window closes, so the sender waits."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._source.paused and transport.is_reading():
            transport.pause_reading()

    def resume(self, now_mono_s: float) -> None:
        """Read on. The pause counts towards no timeout, because the sender did not cause it."""
        if self._since_mono_s:
            self._since_mono_s = now_mono_s
        self._silent = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def check_timeouts(self, now_mono_s: float) -> None:
        """Close the connection if its first byte, the end of a frame, or any data is overdue."""
        reason = self._overdue(now_mono_s)
        if reason is not None:
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
        framer, self._framer = self._framer, None
        if framer is not None:
            fed_bytes = framer.waiting_bytes
            self._hand_on(framer, framer.feed_eof(), fed_bytes)

    def _close(self) -> None:
        if self._transport is not None:
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
