"""Receives streams of frames over TCP connections."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import structlog
from pydantic import Field

from streamd.core.clock import read_clock
from streamd.core.contracts import Outlet, SourceContext
from streamd.core.errors import Place
from streamd.core.peer import Peer
from streamd.core.settings import Address, Endpoint, ListenAddress
from streamd.net.allow import AllowList, Networks
from streamd.net.connection_settings import ConnectionSettings
from streamd.net.listen import OwnSockets, place_of
from streamd.net.listener_tls import DAY_S, ListenerTls, ListenerTlsSettings
from streamd.net.proxied_connection import ProxiedConnection
from streamd.net.proxy_header import peer_at
from streamd.net.stream_connection import StreamConnection
from streamd.net.stream_source import StreamSource
from streamd.net.tls_connection import TlsConnection

log = structlog.get_logger()

_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


class Tcp(StreamSource["Tcp.Config"]):
    """Listens for TCP connections. A full buffer stops all connections of the source, so that their senders
    wait.
    """

    opens_beside = True
    in_each_process = True
    address: Address

    counters: ClassVar[Mapping[str, str]] = {
        **StreamSource.counters,
        "tls_failed": "connections closed because of TLS",
        "proxy_failed": "connections of proxies closed because of their PROXY protocol header",
    }

    class Config(ConnectionSettings):
        """A TCP listener."""

        listen: ListenAddress = Field(description="address and port, like 127.0.0.1:9999 or [::]:601")
        allow: Networks = Field(
            [],
            description="networks (CIDR) that may connect; empty: all. Connections from others are "
            "closed and counted",
        )
        proxies: Networks = Field(
            [],
            description="networks (CIDR) of proxies whose connections begin with a header of the PROXY "
            "protocol, version 1 or 2, which names the client; it is the `peer` of the records, and `allow` "
            "and max_connections_per_sender apply to it. Of other connections no header is read",
        )
        tls: ListenerTlsSettings = Field(ListenerTlsSettings(), description="TLS; off without cert")

        @property
        def endpoints(self) -> tuple[Endpoint, ...]:
            """The listening address."""
            return (Endpoint("tcp", self.listen),)

    def __init__(self, config: Config, context: SourceContext) -> None:
        super().__init__(config, context)
        self.address = config.listen
        self._allow = AllowList(config.allow)
        self._proxies = AllowList(config.proxies)
        self._sockets = context.sockets or OwnSockets()
        self._tls: ListenerTls | None = context.files
        self._doubted_at_mono_s = 0.0

    @classmethod
    def read_files(cls, config: Config, base_dir: Path) -> ListenerTls | None:
        """Read the certificate files; None without TLS. Raises `EnvironmentFault`."""
        return ListenerTls.read(config.tls, base_dir)

    async def open(self, outlet: Outlet) -> None:
        """Bind and begin to accept. Raises `EnvironmentFault`."""
        sock, self.address = self._sockets.take(
            self.config.listen, socket.SOCK_STREAM, f"source {self.context.name}"
        )
        for option, value in _KEEPALIVE:  # accepted sockets inherit these
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # Without this option the kernel silently removes an urgent byte from the stream.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        self.accept(outlet, sock, self._sockets.share_of(self.config.listen))
        protocol = "tcp" if self._tls is None else "tls"
        log.info("listening", source=self.context.name, protocol=protocol, address=str(self.address))
        self._warn_of_certificate()

    def rehearse(self) -> None:
        """Bind and close again, unless the process already holds the socket. Raises `EnvironmentFault`."""
        self._sockets.rehearse(self.config.listen, socket.SOCK_STREAM, f"source {self.context.name}")

    @property
    def places(self) -> list[Place]:
        """The listening address, as configured and as bound."""
        return [place_of(at, socket.SOCK_STREAM) for at in {self.config.listen, self.address}]

    def can_become(self, config: Config) -> bool:
        """True if the address is the same: the source keeps its socket and its connections."""
        return bool(config.listen == self.config.listen)

    def become(self, config: Config, context: SourceContext) -> None:
        """Take over new settings. The lists of networks and the certificates apply to new connections."""
        super().become(config, context)
        self._allow = AllowList(config.allow)
        self._proxies = AllowList(config.proxies)
        self._tls = context.files
        self._warn_of_certificate()

    @property
    def certificate_expires_at_wall_s(self) -> float | None:
        """When the listener's certificate expires, in seconds since 1970; None without TLS."""
        return None if self._tls is None else self._tls.expires_at_wall_s

    def refresh(self) -> None:
        """Repeat the warnings about the certificate once a day, for daemons that are rarely restarted."""
        if read_clock().mono_s - self._doubted_at_mono_s >= DAY_S:
            self._warn_of_certificate()

    def _warn_of_certificate(self) -> None:
        now = read_clock()
        self._doubted_at_mono_s = now.mono_s
        for why in [] if self._tls is None else self._tls.doubts(now.wall_s):
            log.warning("certificate_doubtful", source=self.context.name, why=why)

    def new_connection(self, peer: Peer, sender: str | None) -> StreamConnection:
        """A connection with TLS if there is a certificate. A reload does not change open connections."""
        if sender is None:
            return ProxiedConnection(self, peer)
        if self._tls is None:
            return super().new_connection(peer, sender)
        return TlsConnection(self, peer, sender, self._tls)

    def give_back(self) -> bool:
        """Release the listening socket. True if no other process holds it, so that closing it ends it."""
        return self._sockets.give_back(self.config.listen, socket.SOCK_STREAM)

    def peer_of(self, sock: socket.socket, address: Any) -> Peer:
        """`address:port`. An IPv4-mapped address is shown as IPv4, an IPv6 address in brackets."""
        del sock
        return peer_at(*address[:2])

    def refuses(self, peer: Peer) -> str | None:
        """`not_allowed` if the peer is outside the allowed networks, else None. Proxies may connect."""
        return None if self._is_proxy(peer) else self.refuses_client(peer)

    def refuses_client(self, client: Peer) -> str | None:
        """`not_allowed` if the client is outside the allowed networks, else None."""
        return None if self._allow.has(client) else "not_allowed"

    def sender_of(self, peer: Peer) -> str | None:
        """The peer's IP address; None for a proxy, which names its client later."""
        return None if self._is_proxy(peer) else peer.host

    def _is_proxy(self, peer: Peer) -> bool:
        return bool(self._proxies) and self._proxies.has(peer)
