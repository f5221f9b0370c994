"""Takes connections from a listening socket, and stays honest where file descriptors run out.

A server of asyncio waits a second at each of them, and libuv closes what it has no descriptor for without
telling anybody. Here every connection that the kernel hands over is taken or counted as refused.
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
"""Connections taken before the loop turns again, so that a storm of them keeps nobody waiting who has one."""
RESERVE = 64
"""File descriptors that connections leave to everything else: databases, the log, the admin address."""
RESERVE_FRACTION = 8
"""Where few files are allowed, this part of them is the reserve."""
REST_S = 1.0
"""How long nothing is accepted when not even the reserve has a descriptor; connections wait in the kernel."""
_NOT_OURS = frozenset({
    errno.ECONNABORTED, errno.EPROTO, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.ENETDOWN, errno.ENETUNREACH,
    errno.ENONET, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EPERM,
})  # fmt: skip
"""accept(2): trouble of the one connection that would have been next."""


class Acceptor:
    """Calls `take` with each connection (non-blocking) and its address, `refuse` with a reason."""

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
        # A new descriptor is always the lowest that is free: its number tells how many are in use.
        self._most = files - min(RESERVE, files // RESERVE_FRACTION)
        self._short = False
        self._rest: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Listen and accept. Raises `OSError`."""
        self._loop = asyncio.get_running_loop()
        self._socket.listen(BACKLOG)
        self._go_on()

    def close(self, *, is_last: bool) -> None:
        """Accept no more and close the socket.

        Where nobody else holds it (`is_last`), those that wait in the kernel are refused as `stopping`: it
        would reset them without a count.
        """
        if self._rest is not None:
            self._rest.cancel()
        else:
            self._loop.remove_reader(self._socket.fileno())
        if is_last:
            with suppress(OSError):  # nobody waits any more, or there is no descriptor
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
                self._tell()
                continue
            self._short = False
            sock.setblocking(False)
            self._take(sock, address)

    def _pause(self, error: OSError) -> None:
        """The socket stays readable: to try again at once would be to spin."""
        log.warning("accept_failed", source=self._source, error=str(error), retry_in_s=REST_S)
        self._loop.remove_reader(self._socket.fileno())
        self._rest = self._loop.call_later(REST_S, self._go_on)

    def _tell(self) -> None:
        if not self._short:
            self._short = True
            log.warning(
                "no_descriptors",
                source=self._source,
                limit=self._files,
                reserve=self._files - self._most,
                hint="a higher limit of open files (systemd: LimitNOFILE=), or less max_connections",
            )
