"""A connection of a proxy until its PROXY protocol header is complete."""

import asyncio
from typing import Any, cast

import structlog

from streamd.core.clock import read_clock
from streamd.core.errors import BadData
from streamd.core.peer import Peer
from streamd.net.proxy_header import ProxyHeader
from streamd.net.stream_connection import StreamConnection
from streamd.net.stream_source import StreamSource

log = structlog.get_logger()


class ProxiedConnection(StreamConnection):
    """A connection that begins with a header. Behind it the connection of the client takes its place.

    The header must be complete within `first_byte_timeout`. Until then the connection counts for no sender.
    """

    __slots__ = ("_header",)

    def __init__(self, source: StreamSource[Any], proxy: Peer) -> None:
        super().__init__(source, proxy, None)
        self._header: ProxyHeader | None = ProxyHeader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read the header, or refuse the connection if the source has stopped meanwhile."""
        transport = cast("asyncio.Transport", transport)  # uvloop's transport is no subclass of it
        self.made = True
        if self._source.stopped:
            self._source.refuse("stopping")
            transport.abort()
            return
        self._transport = transport
        self._since_mono_s = read_clock().mono_s
        self._source.connections.add(self)
        asyncio.get_running_loop().call_soon(self.pause)

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes of one read."""
        if self._header is None:
            return
        try:
            rest = self._header.feed(bytes(self._source.read_buffer[:nbytes]))
        except BadData as bad:
            self._fail(bad.reason.partition(":")[2])
            return
        if rest is not None:
            self._hand_over(self._header.client or self._peer, rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended before its header. One without any byte is a health check, and no fault."""
        if self._header is not None and self._header.begun:
            self._fail("incomplete")
        self._header = None
        self._source.leave(self)

    def end(self) -> None:
        """Close because the source stops."""
        self._header = None
        super().end()

    def check_timeouts(self, now_mono_s: float) -> None:
        """Close the connection if its header is overdue."""
        if now_mono_s - self._since_mono_s >= self._source.config.first_byte_timeout:
            self._fail("timeout")

    def _hand_over(self, client: Peer, rest: bytes) -> None:
        """Let the connection of the client take over the transport and the bytes behind the header."""
        self._header = None
        source, transport = self._source, self._transport
        if transport is None or transport.is_closing():
            return
        sender = client.host
        refused = source.refuses_client(client) or source.limits.name(sender)
        if refused is not None:
            source.refuse(refused)
            transport.abort()
            return
        self._transport = None
        source.connections.discard(self)
        connection = source.new_connection(client, sender)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        if rest:
            source.read_buffer[: len(rest)] = rest
            connection.buffer_updated(len(rest))

    def _fail(self, reason: str) -> None:
        self._header = None
        context = self._source.context
        context.counters.add("proxy_failed", reason=reason)
        log.warning("proxy_failed", source=context.name, peer=context.shown(self._peer), reason=reason)
        self._close()
