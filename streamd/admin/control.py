"""The control socket: status, reload and dead letters over HTTP on a Unix socket."""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from streamd.admin.client_connection import MakeParser
from streamd.admin.exchange import TIMEOUT_S, Exchange
from streamd.admin.view import View
from streamd.admin.watch import Watch
from streamd.core.errors import Taken
from streamd.core.trial_paths import try_folder
from streamd.net.unix_socket import PATH_BYTES, UnixSocket

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
    """Serves `ControlRoutes` and `OpenRoutes` to users who may open the socket: `group`, or this user only.

    The answer to `/reload` has no time limit, and a client that disconnects does not end the reload.
    `refused` counts requests as `Exchange` and `OwnOrigin` do.
    """

    def __init__(
        self,
        view: View,
        watch: Watch,
        path: Path,
        *,
        group: str | None,
        reload: Reload,
        dead_letters: Path,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.path = path
        self.refused = view.control_refused
        self._group = group
        self._exchange = Exchange(
            lambda: _stack(view, watch, reload, dead_letters, self.refused),
            self.refused,
            max_connections=MAX_CONNECTIONS,
            max_streams=MAX_STREAMS,
            timeout_s=timeout_s,
        )
        self._bound: UnixSocket | None = None
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen. Raises `EnvironmentFault`, also if another daemon listens there, which keeps its socket."""
        made_by_systemd = "RUNTIME_DIRECTORY" in os.environ  # then the group of the unit has access
        with suppress(OSError):  # the socket below reports the fault
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._bound = UnixSocket(
            short(self.path),
            socket.SOCK_STREAM,
            permissions=0o660 if self._group is not None or made_by_systemd else 0o600,
            group=self._group,
            owner=_OWNER,
        )
        self._server = await asyncio.get_running_loop().create_unix_server(
            self._exchange.protocol, sock=self._bound.socket, backlog=MAX_CONNECTIONS
        )

    @staticmethod
    def rehearse(path: Path, group: str | None) -> None:
        """Raises the errors that `open` would raise, and creates nothing."""
        try:
            try_folder(path.parent)
            can_make_folder = True
        except OSError:  # the socket below reports the fault
            can_make_folder = False
        try:
            UnixSocket.rehearse(
                short(path), socket.SOCK_STREAM, group=group, owner=_OWNER, made_folder=can_make_folder
            )
        except Taken as taken:
            raise Taken(str(taken), "unix", str(path)) from None

    async def close(self) -> None:
        """Remove the socket's path and end every connection. Safe to call twice, and when never opened."""
        if self._bound is not None:
            self._bound.remove()
        if self._server is not None:
            self._server.close()
        await self._exchange.close()
        if self._bound is not None:
            self._bound.socket.close()


def short(path: Path) -> Path:
    """The path, or if it is too long for a Unix socket, the path relative to the current folder."""
    return path if len(os.fsencode(path)) <= PATH_BYTES else Path(os.path.relpath(path))


def _stack(view: View, watch: Watch, reload: Reload, dead_letters: Path, refused: Counter[str]) -> MakeParser:
    from streamd.admin import control_routes, open_routes, own_names, stack  # noqa: PLC0415 - too heavy for a start

    routes = [
        *open_routes.OpenRoutes(view, watch).routes(),
        *control_routes.ControlRoutes(view, watch, reload, dead_letters).routes(),
    ]
    app = stack.Application(routes, _log_fault)
    return stack.make_parser(own_names.OwnOrigin(app, refused))  # the socket may be forwarded to a port


def _log_fault(path: str, error: Exception) -> None:
    log.error("control_answer_failed", path=path, exc_info=error)
