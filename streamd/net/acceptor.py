"""Accepts connections from a listening socket, and counts those refused when file descriptors run out.

asyncio's server then pauses for a second at each connection, and libuv closes connections silently. Here
every connection that the kernel hands over is either taken or counted as refused.
"""

import asyncio
import errno
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

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
    ) -> None:
        self._socket = sock
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
        for _ in range(MOST):
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
