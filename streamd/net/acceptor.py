"""Accepts connections from a listening socket, and counts those refused when file descriptors run out.

asyncio's server then pauses for a second at each connection, and libuv closes connections silently. Here
every connection that the kernel hands over is either taken or counted as refused.

Several processes that accept from one socket take about the same number of connections each (`EvenShare`).
"""

import asyncio
import errno
import resource
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from streamd.core.even_share import EvenShare

log = structlog.get_logger()

BACKLOG = 1024
MOST = 8
"""Most connections accepted in one turn of the loop, so that a burst does not delay open connections."""
RESERVE = 64
"""File descriptors kept free of connections, for databases, the log and the admin address."""
RESERVE_FRACTION = 8
"""If the limit of open files is low, one descriptor in this many is kept free instead."""
REST_S = 1.0
"""Pause in accepting if even the reserve has run out. New connections wait in the kernel meanwhile."""
PATIENCE_S = 0.02
"""How long a connection is left to a process with fewer of them, before any process takes it."""
_WAITING_AT = 24
"""Where `tcp_info` of a listening socket has the number of connections that wait to be accepted."""
_NOT_OURS = frozenset({
    errno.ECONNABORTED, errno.EPROTO, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.ENETDOWN, errno.ENETUNREACH,
    errno.ENONET, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EPERM,
})  # fmt: skip
"""Errors of `accept(2)` that concern only the next connection, not the listening socket."""


class Acceptor:
    """Accepts connections: calls `take` with each non-blocking socket and its address, or `refuse`.

    `refuse` gets the reason: `no_descriptors` or `stopping`.
    """

    def __init__(
        self,
        sock: socket.socket,
        source: str,
        take: Callable[[socket.socket, Any], None],
        refuse: Callable[[str], None],
        share: EvenShare | None = None,
    ) -> None:
        """`share`: the part of this process, if others accept from the same socket."""
        self._socket = sock
        self._share = share
        self._source = source
        self._take = take
        self._refuse = refuse
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._files = files
        # A new descriptor has the lowest free number, so its number bounds how many are in use.
        self._most = files - min(RESERVE, files // RESERVE_FRACTION)
        self._short = False
        self._rest: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Listen and begin to accept. Raises `OSError`."""
        self._loop = asyncio.get_running_loop()
        self._socket.listen(BACKLOG)
        self._go_on()

    def close(self, *, is_last: bool) -> None:
        """Stop accepting and close the socket.

        If no other process holds the socket (`is_last`), connections waiting in the kernel are refused as
        `stopping`. Otherwise the kernel would reset them uncounted.
        """
        if self._rest is not None:
            self._rest.cancel()
        else:
            self._loop.remove_reader(self._socket.fileno())
        if is_last:
            with suppress(OSError):  # no connection waits any more, or descriptors have run out
                for _ in range(BACKLOG + 1):
                    self._socket.accept()[0].close()
                    self._refuse("stopping")
        self._socket.close()

    def _go_on(self) -> None:
        self._rest = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        if self._share is None:
            self._take_up_to(MOST)
        elif waiting := self._waiting():  # else another process was faster
            if most := self._share.of(waiting):
                self._take_up_to(min(MOST, most))
            else:
                self._leave_to_others()

    def _waiting(self) -> int:
        """How many connections wait in the kernel."""
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _WAITING_AT + 4)
        (waiting,) = struct.unpack_from("=I", info, _WAITING_AT)
        return int(waiting)

    def _leave_to_others(self) -> None:
        """Look again when the processes with fewer connections have had the time to take what waits."""
        self._loop.remove_reader(self._socket.fileno())
        self._rest = self._loop.call_later(PATIENCE_S, self._take_what_is_left)

    def _take_what_is_left(self) -> None:
        """What still waits: the others are busy, or hang."""
        self._go_on()
        self._take_up_to(min(MOST, self._waiting()))

    def _take_up_to(self, most: int) -> None:
        for _ in range(most):
            try:
                sock, address = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NOT_OURS:
                    continue
                self._pause(error)
                return
            if sock.fileno() >= self._most:
                sock.close()
                self._refuse("no_descriptors")
                self._warn_of_shortage()
                continue
            self._short = False
            sock.setblocking(False)
            self._take(sock, address)

    def _pause(self, error: OSError) -> None:
        """Stop reading for `REST_S`: the socket stays readable, so an immediate retry would spin."""
        log.warning("accept_failed", source=self._source, error=str(error), retry_in_s=REST_S)
        self._loop.remove_reader(self._socket.fileno())
        self._rest = self._loop.call_later(REST_S, self._go_on)

    def _warn_of_shortage(self) -> None:
        if not self._short:
            self._short = True
            log.warning(
                "no_descriptors",
                source=self._source,
                limit=self._files,
                reserve=self._files - self._most,
                hint="raise the limit of open files (systemd: LimitNOFILE=), or lower max_connections",
            )
