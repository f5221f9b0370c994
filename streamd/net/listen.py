"""Makes bound sockets, with errors that say what to do."""

import errno
import ipaddress
import os
import socket
from typing import Any

from streamd.core.errors import EnvironmentFault, Taken
from streamd.core.settings import Address

_ADVICE = {
    errno.EADDRINUSE: "the port is taken; is another streamd running? (ss -lnptu shows who has it)",
    errno.EADDRNOTAVAIL: "this host has no such address (ip addr shows those it has)",
}
_PROTOCOLS = {socket.SOCK_DGRAM: "udp", socket.SOCK_STREAM: "tcp"}
_UNIT_LINES = {socket.SOCK_DGRAM: "ListenDatagram", socket.SOCK_STREAM: "ListenStream"}


def resolved(
    listen: Address, kind: socket.SocketKind, owner: str
) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """The family and the first socket address of a host name or IP address. Raises `EnvironmentFault`."""
    return _resolve(listen, kind, owner)[0]


def numeric(listen: Address, kind: socket.SocketKind, owner: str) -> list[Address]:
    """All numeric addresses of a host name or IP address. Raises `EnvironmentFault`."""
    found = _resolve(listen, kind, owner)
    return list(dict.fromkeys(Address(str(address[0]), listen.port) for _, address in found))


def _resolve(
    listen: Address, kind: socket.SocketKind, owner: str
) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    try:
        found = socket.getaddrinfo(*listen, type=kind, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise EnvironmentFault(f"{owner}: cannot resolve {listen.host!r}: {error}") from None
    return [(family, address) for family, *_, address in found]


def bound_socket(
    listen: Address, kind: socket.SocketKind, owner: str, *, shared: bool = False
) -> tuple[socket.socket, Address]:
    """A bound, non-blocking socket and its actual address.

    A name is resolved once, and its first address is used. `[::]` also receives IPv4. With `shared`, further
    shared sockets can be bound to the same address, and the kernel spreads senders over all of them. Raises
    `EnvironmentFault`, with a text that begins with `owner` ("source lab").
    """
    family, address = resolved(listen, kind, owner)
    sock = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, listen.host != "::")
        sock.setblocking(False)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise _refused(listen, kind, owner, error) from None
    host, port = sock.getsockname()[:2]
    return sock, Address(host, port)


def try_bound_socket(listen: Address, kind: socket.SocketKind, owner: str) -> None:
    """Raise what `bound_socket` would. Binds and closes without listening, so no client connects to it."""
    bound_socket(listen, kind, owner)[0].close()


def privileged(listen: Address, kind: socket.SocketKind, owner: str) -> EnvironmentFault:
    """The error that `bound_socket` raises for a user who may not bind this privileged port."""
    return _refused(listen, kind, owner, OSError(errno.EACCES, os.strerror(errno.EACCES)))


def place_of(listen: Address, kind: socket.SocketKind) -> tuple[str, str]:
    """The protocol and address of a listener, as in `Taken`."""
    return _PROTOCOLS[kind], str(listen)


def _refused(listen: Address, kind: socket.SocketKind, owner: str, error: OSError) -> EnvironmentFault:
    if error.errno == errno.EACCES:
        advice = _privileged(listen, kind, owner)
    else:
        advice = _ADVICE.get(error.errno or 0, "check the address")
    text = f"{owner}: cannot listen on {listen}: {error.strerror}: {advice}"
    if error.errno == errno.EADDRINUSE:
        return Taken(text, *place_of(listen, kind))
    return EnvironmentFault(text)


def _privileged(listen: Address, kind: socket.SocketKind, owner: str) -> str:
    """Advice for a port that only root may bind."""
    port = f"port {listen.port} is privileged"
    if not owner.startswith("source "):
        return f"{port}: choose one above 1023"
    try:
        ipaddress.ip_address(listen.host)
    except ValueError:
        return f"{port}: systemd can hold it for the service, but resolves no names: write the IP address"
    line = f"{_UNIT_LINES[kind]}={listen}"
    return (
        f"{port}, and systemd has to hold it for the service: `streamd install-service` adds {line} to"
        " streamd.socket, then run `systemctl daemon-reload` and"
        " `systemctl restart streamd.socket streamd.service`; without systemd CAP_NET_BIND_SERVICE is needed"
    )


class OwnSockets:
    """Makes a new socket for each `take`; no other process holds it."""

    def take(self, listen: Address, kind: socket.SocketKind, owner: str) -> tuple[socket.socket, Address]:
        """See `bound_socket`."""
        return bound_socket(listen, kind, owner)

    def give_back(self, listen: Address, kind: socket.SocketKind) -> bool:
        """Always True: no other process holds the socket."""
        del listen, kind
        return True

    def rehearse(self, listen: Address, kind: socket.SocketKind, owner: str) -> None:
        """See `try_bound_socket`."""
        try_bound_socket(listen, kind, owner)

    def notes(self, source: str) -> None:
        """None: no other process looks there."""
        del source

    def share_of(self, listen: Address) -> None:
        """None: no other process accepts connections."""
        del listen
