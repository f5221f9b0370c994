"""The admin address: metrics and health over HTTP on a loopback address."""

import asyncio
import socket

import structlog

from streamd.admin.client_connection import MakeParser
from streamd.admin.exchange import TIMEOUT_S, Exchange
from streamd.admin.view import View
from streamd.admin.watch import Watch
from streamd.core.settings import Address
from streamd.net.listen import bound_socket, numeric, try_bound_socket

MAX_CONNECTIONS = 64
MAX_STREAMS = 16
_OWNER = "[admin]"

log = structlog.get_logger()


class AdminServer:
    """Serves `OpenRoutes` to every user of this host, but not to web pages of other origins.

    `refused` counts requests as `Exchange`, `OwnNames` and `OwnOrigin` do.
    """

    def __init__(self, view: View, watch: Watch, address: Address, *, timeout_s: float = TIMEOUT_S) -> None:
        self.refused = view.admin_refused
        self.listening: tuple[Address, ...] = ()
        self._view = view
        self._watch = watch
        self._address = address
        self._servers: list[asyncio.Server] = []
        self._exchange = Exchange(
            self._stack,
            self.refused,
            max_connections=MAX_CONNECTIONS,
            max_streams=MAX_STREAMS,
            timeout_s=timeout_s,
            answer_timeout_s=timeout_s,
        )

    async def open(self) -> None:
        """Listen. Raises `EnvironmentFault`."""
        found: list[Address] = []
        for address in numeric(self._address, socket.SOCK_STREAM, _OWNER):
            sock, bound = bound_socket(address, socket.SOCK_STREAM, _OWNER)
            server = await asyncio.get_running_loop().create_server(
                self._exchange.protocol, sock=sock, backlog=MAX_CONNECTIONS
            )
            self._servers.append(server)
            found.append(bound)
        self.listening = tuple(found)

    @staticmethod
    def rehearse(address: Address) -> None:
        """Bind each address and release it at once. Raises the errors that `open` would raise."""
        for one in numeric(address, socket.SOCK_STREAM, _OWNER):
            try_bound_socket(one, socket.SOCK_STREAM, _OWNER)

    async def close(self) -> None:
        """Stop listening and end every connection. Safe to call twice, and when never opened."""
        for server in self._servers:
            server.close()
        await self._exchange.close()

    def _stack(self) -> MakeParser:
        from streamd.admin import open_routes, own_names, stack  # noqa: PLC0415 - too heavy for a start

        routes = open_routes.OpenRoutes(self._view, self._watch).routes()
        app = stack.Application(routes, _log_fault)
        own_origin = own_names.OwnOrigin(app, self.refused)
        return stack.make_parser(own_names.OwnNames(own_origin, self._address.host, self.refused))


def _log_fault(path: str, error: Exception) -> None:
    log.error("admin_answer_failed", path=path, exc_info=error)
