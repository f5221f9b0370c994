"""The common base of listeners for byte streams, which cut each connection's bytes into frames."""

import asyncio
import socket
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import structlog

from streamd.core.clock import read_clock
from streamd.core.contracts import Outlet, Source, SourceContext
from streamd.core.errors import ConfigError
from streamd.core.even_share import AWAY, EvenShare
from streamd.core.framer_counts import CUTTING
from streamd.core.frames import Frames
from streamd.core.multiline_settings import JOINING
from streamd.core.peer import Peer
from streamd.net.acceptor import Acceptor
from streamd.net.connection_settings import ConnectionSettings
from streamd.net.limits import ConnectionLimits
from streamd.net.stream_connection import StreamConnection

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
        "unread_bytes": "bytes of connected senders that the kernel still held, or that were not decompressed"
        " yet, when the source stopped",
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

    def new_connection(self, peer: Peer, sender: str | None) -> StreamConnection:
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

    def leave(self, connection: StreamConnection) -> None:
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
