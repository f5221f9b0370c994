"""Receives streams over connections to a unix socket."""

import socket
from typing import Any

from streamd.core.contracts import Outlet, SourceContext
from streamd.core.peer import Peer
from streamd.net.source_unix_socket import CREDENTIALS, SourceUnixSocket, path_of, peer_of, rehearse
from streamd.net.stream_source import StreamSource


class UnixStreams(StreamSource[Any]):
    """A unix socket that accepts connections. The peer is the process that connected."""

    def __init__(self, config: Any, context: SourceContext) -> None:
        super().__init__(config, context)
        self.address = path_of(config, context)
        self._bound: SourceUnixSocket | None = None

    async def open(self, outlet: Outlet) -> None:
        """Bind and begin to accept. Raises `EnvironmentFault`."""
        self._bound = SourceUnixSocket(self.config, self.context, socket.SOCK_STREAM)
        self.accept(outlet, self._bound.socket)

    def rehearse(self) -> None:
        """Check the path of the socket. Raises `EnvironmentFault`."""
        rehearse(self.config, self.context, socket.SOCK_STREAM)

    def peer_of(self, sock: socket.socket, address: Any) -> Peer:
        """pid, uid and gid of the process that connected."""
        del address
        return peer_of(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))

    def sender_of(self, peer: Peer) -> str:
        """`uid=1000`: the user that connected."""
        return peer.split(",")[1]

    async def stop(self) -> None:
        """Remove the socket's file, then stop as every stream source does."""
        if self._bound is not None:
            self._bound.remove()
            await super().stop()
            self._bound = None
