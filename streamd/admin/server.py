"""The admin address: the page, the status, metrics and health over HTTP."""

import asyncio
import os
import socket
from pathlib import Path

import structlog

from streamd.admin import own_socket, token
from streamd.admin.backing import Backing
from streamd.admin.client_connection import MakeParser
from streamd.admin.exchange import TIMEOUT_S, Exchange
from streamd.admin.view import View
from streamd.admin.watch import Watch
from streamd.config import Loaded
from streamd.core.errors import Place
from streamd.core.settings import Address
from streamd.net.listen import bound_socket, numeric, place_of, try_bound_socket
from streamd.net.unix_socket import UnixSocket

MAX_CONNECTIONS = 64
MAX_STREAMS = 16
_OWNER = "[admin]"

log = structlog.get_logger()


class AdminServer:
    """Serves `Routes` to every user of this host, but not to web pages of other origins.

    The protected routes need the token. If other hosts may reach the address, all routes need it except the
    page's own files and health. `refused` counts requests as `Exchange`, `OwnNames`, `OwnOrigin` and `Access`
    do.
    """

    def __init__(self, view: View, watch: Watch, backing: Backing, *, timeout_s: float = TIMEOUT_S) -> None:
        self.refused = view.admin_refused
        self.listening: tuple[Address, ...] = ()
        self.path: Path | None = None
        """The unix socket. With one, there is no address."""
        self.token: token.Token
        """Set by `open`."""
        self._view = view
        self._watch = watch
        self._backing = backing
        self._settings = backing.loaded().config.admin
        self._servers: list[asyncio.Server] = []
        self._unix: UnixSocket | None = None
        self._exchange = Exchange(
            self._stack,
            self.refused,
            max_connections=MAX_CONNECTIONS,
            max_streams=MAX_STREAMS,
            timeout_s=timeout_s,
            answer_timeout_s=timeout_s,
        )

    @property
    def places(self) -> list[Place]:
        """The addresses or the path that no other process may use meanwhile."""
        if self.path is not None:
            return [("unix", str(self.path))]
        listen = self._settings.listen
        wanted = [listen] if isinstance(listen, Address) else []
        return [place_of(at, socket.SOCK_STREAM) for at in (*wanted, *self.listening)]

    @property
    def served_at(self) -> list[str]:
        """Each address, or `unix:` and the path."""
        return [str(at) for at in self.listening] if self.path is None else [f"unix:{self.path}"]

    @property
    def page(self) -> tuple[list[str], str]:
        """Where the page is served, and the token that it needs."""
        return self.served_at, self.token.text

    async def open(self) -> None:
        """Listen. Raises `EnvironmentFault`."""
        settings = self._settings
        loaded = self._backing.loaded()
        if settings.token is None:
            self.token = token.own(loaded.state_dir)
        else:
            self.token = token.configured(settings.token, loaded.base_dir)
        if settings.socket_path is not None:
            await self._open_unix(_absolute(loaded.state_dir, settings.socket_path))
            return
        assert isinstance(settings.listen, Address)  # noqa: S101 - the daemon makes no server without one
        found: list[Address] = []
        for address in numeric(settings.listen, socket.SOCK_STREAM, _OWNER):
            sock, bound = bound_socket(address, socket.SOCK_STREAM, _OWNER)
            server = await asyncio.get_running_loop().create_server(
                self._exchange.protocol, sock=sock, backlog=MAX_CONNECTIONS
            )
            self._servers.append(server)
            found.append(bound)
        self.listening = tuple(found)

    async def _open_unix(self, path: Path) -> None:
        self._unix = own_socket.make(path, self._settings.group, _OWNER)
        server = await asyncio.get_running_loop().create_unix_server(
            self._exchange.protocol, sock=self._unix.socket, backlog=MAX_CONNECTIONS
        )
        self._servers.append(server)
        self.path = path

    @staticmethod
    def rehearse(loaded: Loaded) -> None:
        """Bind each address and release it at once. Raises the errors that `open` would raise."""
        settings, state_dir = loaded.config.admin, loaded.state_dir
        if settings.socket_path is not None:
            own_socket.rehearse(_absolute(state_dir, settings.socket_path), settings.group, _OWNER)
        elif isinstance(settings.listen, Address):
            for one in numeric(settings.listen, socket.SOCK_STREAM, _OWNER):
                try_bound_socket(one, socket.SOCK_STREAM, _OWNER)
        if settings.token is None:
            token.rehearse_own(state_dir)
        else:
            token.configured(settings.token, loaded.base_dir)

    async def close(self) -> None:
        """Stop listening and end every connection. Safe to call twice, and when never opened."""
        if self._unix is not None:
            self._unix.remove()
        for server in self._servers:
            server.close()
        await self._exchange.close()
        if self._unix is not None:
            self._unix.socket.close()

    def _stack(self) -> MakeParser:
        from streamd.admin import access, own_names, routes, stack  # noqa: PLC0415 - too heavy for a start

        is_open = self._settings.is_open
        shared = routes.Routes(self._view, self._watch, self._backing, everyone=not is_open)
        guarded = access.Access(self.token, self.refused).guarded
        live = guarded(shared.live) if is_open else shared.live
        app = stack.Application(
            [*shared.public, *shared.health, *live, *guarded(shared.protected)], _log_fault
        )
        own_origin = own_names.OwnOrigin(app, self._settings.names, self.refused)
        return stack.make_parser(
            own_names.OwnNames(own_origin, self._names(), self.refused, has_every_ip=is_open)
        )

    def _names(self) -> list[str]:
        listen = self._settings.listen
        return [
            *self._settings.names,
            *([listen.host] if isinstance(listen, Address) else []),
            *([socket.gethostname()] if self._settings.is_open else []),
        ]


def _absolute(state_dir: Path, path: str) -> Path:
    return Path(os.path.abspath(state_dir / path))  # noqa: PTH100 - pathlib's would follow links


def _log_fault(path: str, error: Exception) -> None:
    log.error("admin_answer_failed", path=path, exc_info=error)
