"""The listening sockets of this process: inherited or opened, and kept across a reload."""

import errno
import os
import resource
import socket
from collections import Counter
from collections.abc import MutableMapping
from contextlib import suppress

import structlog

from streamd.core.settings import Address
from streamd.net.listen import bound_socket, resolved, try_bound_socket

log = structlog.get_logger()

FIRST_FD = 3
"""Where `sd_listen_fds(3)` begins."""
SO_BUF_LOCK = 72
"""Whether a buffer's size was set by hand, see `_leave_its_size_to_the_kernel`; Python has no name for it."""
STREAM_BUFFER_BYTES = 64 * 1024
"""What a connection begins with; the kernel doubles it, and makes it larger for who is read fast."""

Key = tuple[Address, socket.SocketKind]


class ListeningSockets:
    """Hands out sockets to sources, by address and kind.

    A socket that was inherited (systemd's socket activation) is never closed for good: while no source reads
    it, data waits in the kernel for the next reader. A socket made here lives until its last user has
    returned it, so a source that takes over the address of another one misses nothing.
    """

    def __init__(self, inherited: list[socket.socket] | None = None) -> None:
        self._inherited = inherited or []
        self._made: dict[Key, socket.socket] = {}
        self._users: Counter[Key] = Counter()

    def take(self, listen: Address, kind: socket.SocketKind, owner: str) -> tuple[socket.socket, Address]:
        """A bound, non-blocking socket and the address it has. Raises `EnvironmentFault`."""
        key = (listen, kind)
        held = self.inherited(listen, kind, owner) or self._made.get(key)
        if held is None:
            made, address = bound_socket(listen, kind, owner)
            if listen.port:  # with port 0 everybody gets another one
                self._made[key] = made
                self._users[key] += 1
                return made.dup(), address
            return made, address
        self._users[key] += 1
        host, port = held.getsockname()[:2]
        return held.dup(), Address(host, port)

    def rehearse(self, listen: Address, kind: socket.SocketKind, owner: str) -> None:
        """Raises what `take` would; what this process holds already is not bound for that."""
        if self.inherited(listen, kind, owner) is None and (listen, kind) not in self._made:
            try_bound_socket(listen, kind, owner)

    def give_back(self, listen: Address, kind: socket.SocketKind) -> bool:
        """After the taken one was closed, or to learn it before: whether nobody else holds the socket."""
        key = (listen, kind)
        if self._users[key]:
            self._users[key] -= 1
        if self._users[key]:
            return False
        made = self._made.pop(key, None)
        if made is not None:
            made.close()
        return made is not None or not listen.port

    def inherited(self, listen: Address, kind: socket.SocketKind, owner: str) -> socket.socket | None:
        """The socket of that address and kind that this process was started with."""
        candidates = [sock for sock in self._inherited if sock.type == kind]
        if not candidates:
            return None
        family, address = resolved(listen, kind, owner)
        for sock in candidates:
            bound = sock.getsockname()
            if sock.family == family and bound[:2] == address[:2]:
                return sock
            # `ListenStream=514` is [::]:514 and takes IPv4 too.
            if bound[:2] == ("::", listen.port) and listen.host in ("0.0.0.0", "::"):  # noqa: S104 - compared
                return sock
        return None

    def warn_of_unused(self) -> None:
        """Say which inherited sockets nobody reads: what comes there is lost once their buffer is full."""
        used = {id(self.inherited(listen, kind, "")) for (listen, kind), n in self._users.items() if n}
        for sock in self._inherited:
            if id(sock) not in used:
                log.warning(
                    "socket_not_used",
                    address=str(Address(*sock.getsockname()[:2])),
                    protocol="udp" if sock.type == socket.SOCK_DGRAM else "tcp",
                    hint="no source listens there; take it out of the socket unit or add a source",
                )


def inherited(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """The internet sockets passed as `sd_listen_fds(3)` describes; the variables are taken away.

    Others (unix sockets, FIFOs, connections) are left alone with a warning: no source takes them over.
    """
    count = environment.pop("LISTEN_FDS", "0")
    pid = environment.pop("LISTEN_PID", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    found = []
    most_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # nobody can have passed more
    for fd in range(FIRST_FD, min(FIRST_FD + int(count[:20]), most_files)):
        try:
            sock = socket.socket(fileno=fd)
        except OSError as error:
            log.warning("socket_not_used", fd=fd, hint=f"what was passed is no socket: {error.strerror}")
            if error.errno == errno.EBADF:  # they stand in a row: the count is wrong
                break
            continue
        if (trouble := _unusable(sock)) is not None:
            log.warning("socket_not_used", fd=fd, hint=trouble)
            sock.detach()  # where the count is wrong it is something of our own
            continue
        sock.set_inheritable(False)
        sock.setblocking(False)
        if sock.type == socket.SOCK_STREAM:
            _leave_its_size_to_the_kernel(sock)
        found.append(sock)
    return found


def _unusable(sock: socket.socket) -> str | None:
    """Why no source can take it over; None where one can."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return "only sockets of IPv4 and IPv6 are taken over"
    if sock.type not in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        return "only sockets of TCP and UDP are taken over"
    if sock.getsockname()[1] == 0:
        return "it is bound to no port"
    try:
        sock.getpeername()
    except OSError:
        return None
    return "it is connected already: a socket unit for streamd has Accept=no"


def _leave_its_size_to_the_kernel(listening: socket.socket) -> None:
    """Undo a `ReceiveBuffer=` that is meant for the datagrams of the same unit: with it each connection
    may hold that much in the kernel. Kernels before 5.14 know no way back and keep it.
    """
    with suppress(OSError):
        listening.getsockopt(socket.SOL_SOCKET, SO_BUF_LOCK)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STREAM_BUFFER_BYTES)
        listening.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, 0)
