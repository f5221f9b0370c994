"""The control socket: status, reload and dead letters over HTTP on a Unix socket."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from streamd.admin import own_socket
from streamd.admin.backing import Backing
from streamd.admin.client_connection import MakeParser
from streamd.admin.exchange import TIMEOUT_S, Exchange
from streamd.admin.view import View
from streamd.admin.watch import Watch
from streamd.net.unix_socket import UnixSocket

MAX_CONNECTIONS = 16
MAX_STREAMS = 8
_OWNER = "[control]"

log = structlog.get_logger()


class AskingProcess(NamedTuple):
    """The process of the client, as reported by the kernel (`SO_PEERCRED`)."""

    pid: int
    uid: int
    gid: int


Reload = Callable[[bool, AskingProcess], Awaitable[dict[str, Any]]]
"""Reloads, or with True only returns the changes. Raises `ConfigError` or `EnvironmentFault`."""


class ControlServer:
    """Serves `ControlRoutes` and `Routes` to users who may open the socket: `group`, or this user only.

    It asks for no token. The answer to `/reload` has no time limit, and a client that disconnects does not
    end the reload. `refused` counts requests as `Exchange` and `OwnOrigin` do.
    """

    def __init__(
        self,
        view: View,
        watch: Watch,
        path: Path,
        *,
        group: str | None,
        reload: Reload,
        backing: Backing,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.path = path
        self.refused = view.control_refused
        self._group = group
        self._exchange = Exchange(
            lambda: _stack(view, watch, reload, backing, self.refused),
            self.refused,
            max_connections=MAX_CONNECTIONS,
            max_streams=MAX_STREAMS,
            timeout_s=timeout_s,
        )
        self._bound: UnixSocket | None = None
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen. Raises `EnvironmentFault`, also if another daemon listens there, which keeps its socket."""
        self._bound = own_socket.make(self.path, self._group, _OWNER)
        self._server = await asyncio.get_running_loop().create_unix_server(
            self._exchange.protocol, sock=self._bound.socket, backlog=MAX_CONNECTIONS
        )

    @staticmethod
    def rehearse(path: Path, group: str | None) -> None:
        """Raises the errors that `open` would raise, and creates nothing."""
        own_socket.rehearse(path, group, _OWNER)

    async def close(self) -> None:
        """Remove the socket's path and end every connection. Safe to call twice, and when never opened."""
        if self._bound is not None:
            self._bound.remove()
        if self._server is not None:
            self._server.close()
        await self._exchange.close()
        if self._bound is not None:
            self._bound.socket.close()


def _stack(view: View, watch: Watch, reload: Reload, backing: Backing, refused: Counter[str]) -> MakeParser:
    from streamd.admin import control_routes, own_names, routes, stack  # noqa: PLC0415 - too heavy for a start

    shared = routes.Routes(view, watch, backing, everyone=False)
    own = control_routes.ControlRoutes(view, reload)
    app = stack.Application(
        [*shared.public, *shared.health, *shared.live, *shared.protected, *own.routes()], _log_fault
    )
    return stack.make_parser(own_names.OwnOrigin(app, (), refused))  # the socket may be forwarded to a port


def _log_fault(path: str, error: Exception) -> None:
    log.error("control_answer_failed", path=path, exc_info=error)
