"""The listening sockets of this process, inherited or made here, and kept across a reload."""

import errno
import os
import resource
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress

import structlog

from streamd.core.contracts import ReadNotes
from streamd.core.even_share import EvenShare
from streamd.core.settings import Address
from streamd.net.listen import bound_socket, resolved, try_bound_socket

log = structlog.get_logger()

FIRST_FD = 3
"""The first descriptor that `sd_listen_fds(3)` passes."""
SO_BUF_LOCK = 72
"""Socket option, missing in Python: which buffer sizes are fixed. See `_restore_autotuning`."""
STREAM_BUFFER_BYTES = 64 * 1024
"""Initial receive buffer of a connection. The kernel doubles it, and grows it while reads are fast."""

Key = tuple[Address, socket.SocketKind]


class ListeningSockets:
    """Hands out sockets to sources, by address and kind.

    An inherited socket (systemd's socket activation) is never closed, so data waits in the kernel while no
    source reads it. A socket made here is closed when its last user gives it back, so a source that takes
    over another one's address misses no data.
    """

    def __init__(
        self,
        inherited: list[socket.socket] | None = None,
        given: Mapping[Key, socket.socket] | None = None,
        notes: Callable[[str], ReadNotes | None] = lambda _: None,
        share_of: Callable[[Address], EvenShare | None] = lambda _: None,
    ) -> None:
        """`given` are sockets that another process holds for a successor of this one.

        `notes` makes the notes of a source for it; `share_of` is the part of this process in the connections
        to an address, None if no other process accepts from it.
        """
        self._inherited = inherited or []
        self._given = dict(given or {})
        self.is_last = False
        """Whether no successor will take over the given sockets."""
        self.notes = notes
        self.share_of = share_of
        self._made: dict[Key, socket.socket] = {}
        self._users: Counter[Key] = Counter()

    def take(self, listen: Address, kind: socket.SocketKind, owner: str) -> tuple[socket.socket, Address]:
        """A bound, non-blocking socket and its actual address. Raises `EnvironmentFault`."""
        key = (listen, kind)
        held = self._given.get(key) or self.inherited(listen, kind, owner) or self._made.get(key)
        if held is None:
            made, address = bound_socket(listen, kind, owner)
            if listen.port:  # with port 0 each taker gets another port
                self._made[key] = made
                self._users[key] += 1
                return made.dup(), address
            return made, address
        self._users[key] += 1
        host, port = held.getsockname()[:2]
        return held.dup(), Address(host, port)

    def rehearse(self, listen: Address, kind: socket.SocketKind, owner: str) -> None:
        """Raise what `take` would. A socket that this process already holds is not bound again."""
        if (listen, kind) in self._given or (listen, kind) in self._made:
            return
        if self.inherited(listen, kind, owner) is None:
            try_bound_socket(listen, kind, owner)

    def give_back(self, listen: Address, kind: socket.SocketKind) -> bool:
        """Undo one `take`. True if no other source or process holds the socket."""
        key = (listen, kind)
        if self._users[key]:
            self._users[key] -= 1
        if self._users[key]:
            return False
        if key in self._given:
            if self.is_last:
                self._given.pop(key).close()
            return self.is_last
        made = self._made.pop(key, None)
        if made is not None:
            made.close()
        return made is not None or not listen.port

    def close(self) -> None:
        """Close the given sockets of this process, after the last `give_back`."""
        for sock in self._given.values():
            sock.close()
        self._given = {}

    def inherited(self, listen: Address, kind: socket.SocketKind, owner: str) -> socket.socket | None:
        """The inherited socket of that address and kind, if there is one. Raises `EnvironmentFault`."""
        candidates = [sock for sock in self._inherited if sock.type == kind]
        if not candidates:
            return None
        family, address = resolved(listen, kind, owner)
        for sock in candidates:
            bound = sock.getsockname()
            if sock.family == family and bound[:2] == address[:2]:
                return sock
            # `ListenStream=514` binds [::]:514, which also receives IPv4.
            if bound[:2] == ("::", listen.port) and listen.host in ("0.0.0.0", "::"):  # noqa: S104 - compared
                return sock
        return None

    def warn_of_unused(self) -> None:
        """Warn of inherited sockets that no source reads: data sent there is lost once they are full."""
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
    """The internet sockets passed by `sd_listen_fds(3)`. Its variables are removed from `environment`.

    Other descriptors (unix sockets, FIFOs, connections) stay open and are warned about, because no source
    can use them.
    """
    count = environment.pop("LISTEN_FDS", "0")
    pid = environment.pop("LISTEN_PID", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    most_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # bounds a wrong count
    return passed(range(FIRST_FD, min(FIRST_FD + int(count[:20]), most_files)))


def passed(descriptors: Iterable[int]) -> list[socket.socket]:
    """The internet sockets with these descriptors. The others are warned about."""
    found = []
    for fd in descriptors:
        try:
            sock = socket.socket(fileno=fd)
        except OSError as error:
            log.warning("socket_not_used", fd=fd, hint=f"the descriptor is no socket: {error.strerror}")
            if error.errno == errno.EBADF:  # descriptors are passed without gaps, so the count is wrong
                break
            continue
        if (trouble := _unusable(sock)) is not None:
            log.warning("socket_not_used", fd=fd, hint=trouble)
            sock.detach()  # not closed: if the count is wrong, the descriptor is one of this process
            continue
        sock.set_inheritable(False)
        sock.setblocking(False)
        if sock.type == socket.SOCK_STREAM:
            _restore_autotuning(sock)
        found.append(sock)
    return found


def _unusable(sock: socket.socket) -> str | None:
    """Why no source can use the socket; None if one can."""
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


def _restore_autotuning(listening: socket.socket) -> None:
    """Undo `ReceiveBuffer=`, which the socket unit sets for its datagram sockets.

    With it each connection could hold that much kernel memory. Kernels before 5.14 cannot undo it.
    """
    with suppress(OSError):
        listening.getsockopt(socket.SOL_SOCKET, SO_BUF_LOCK)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STREAM_BUFFER_BYTES)
        listening.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, 0)
