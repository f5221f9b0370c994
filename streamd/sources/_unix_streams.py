"""Connections over a unix socket."""

import asyncio
import socket
from typing import Any

from streamd.core.contracts import Outlet, SourceContext
from streamd.sources._stream import StreamSource
from streamd.sources._unix_socket import CREDENTIALS, UnixSocket, path_of, peer_text


class UnixStreams(StreamSource):
    """A unix socket that takes connections. Their peer is the process that connected."""

    def __init__(self, config: Any, context: SourceContext) -> None:
        super().__init__(config, context)
        self.address = path_of(config, context)
        self._bound: UnixSocket | None = None

    async def open(self, outlet: Outlet) -> None:
        """Bind and begin to accept. Raises `EnvironmentFault`."""
        loop = asyncio.get_running_loop()
        sock = UnixSocket(self.config, self.context, socket.SOCK_STREAM)
        self._bound = sock
        await self.accept(
            outlet, lambda protocol: loop.create_unix_server(protocol, sock=sock.socket, backlog=1024)
        )

    def peer_of(self, transport: asyncio.Transport) -> str:
        """The process that connected."""
        sock = transport.get_extra_info("socket")
        return peer_text(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))

    async def stop(self) -> None:
        """Take the path away, then stop as every stream does."""
        if self._bound is not None:
            self._bound.remove()
            await super().stop()
            self._bound.socket.close()
            self._bound = None
