"""Sockets that listen, with errors that say what to do."""

import errno
import socket
from typing import Any

from streamd.core.errors import EnvironmentFault
from streamd.core.settings import Address

_ADVICE = {
    errno.EADDRINUSE: "the port is taken; is another streamd running? (ss -lnptu shows who has it)",
    errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE or socket activation",
    errno.EADDRNOTAVAIL: "this host has no such address (ip addr shows those it has)",
}


def resolved(
    listen: Address, kind: socket.SocketKind, owner: str
) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """The family and the socket address of a name, or of an address. Raises `EnvironmentFault`."""
    try:
        found = socket.getaddrinfo(*listen, type=kind, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise EnvironmentFault(f"{owner}: cannot resolve {listen.host!r}: {error}") from None
    family, _, _, _, address = found[0]
    return family, address


def bound_socket(listen: Address, kind: socket.SocketKind, owner: str) -> tuple[socket.socket, Address]:
    """A bound, non-blocking socket and the address it really has.

    A name is resolved once and its first address taken. `[::]` takes IPv4 too. Raises `EnvironmentFault`,
    in the name of the `owner` ("source lab").
    """
    family, address = resolved(listen, kind, owner)
    sock = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, listen.host != "::")
        sock.setblocking(False)
        sock.bind(address)
    except OSError as error:
        sock.close()
        advice = _ADVICE.get(error.errno or 0, "check the address")
        raise EnvironmentFault(f"{owner}: cannot listen on {listen}: {error.strerror}: {advice}") from None
    host, port = sock.getsockname()[:2]
    return sock, Address(host, port)


class OwnSockets:
    """Each taker gets a socket of its own, and nobody else holds it."""

    def take(self, listen: Address, kind: socket.SocketKind, owner: str) -> tuple[socket.socket, Address]:
        """As `bound_socket`."""
        return bound_socket(listen, kind, owner)

    def give_back(self, listen: Address, kind: socket.SocketKind) -> bool:
        """Nobody else holds it."""
        del listen, kind
        return True
