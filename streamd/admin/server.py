"""The admin address: metrics and health over HTTP on a loopback address."""

import asyncio
import importlib
import re
import socket
from typing import Any

import structlog

from streamd.admin.exchange import MAX_REQUEST_BYTES, TIMEOUT_S, Answer, Exchange, Request
from streamd.admin.view import View
from streamd.admin.watch import Watch
from streamd.core.printable import printable
from streamd.core.settings import Address
from streamd.sources._listen import bound_socket, numeric, try_bound_socket

MAX_CONNECTIONS = 64
_OWNER = "[admin]"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::[0-9]{0,5})?")

log = structlog.get_logger()


class AdminServer:
    """Serves `/metrics`, `/healthz` and `/readyz`.

    `refused` counts by reason what got no such answer: what `Exchange` counts, and `host` (a name that is
    not ours, as a web page that rebinds its DNS name would send).
    """

    def __init__(self, view: View, watch: Watch, address: Address, *, timeout_s: float = TIMEOUT_S) -> None:
        self.refused = view.admin_refused
        self.listening: tuple[Address, ...] = ()
        self._view = view
        self._watch = watch
        self._address = address
        self._timeout_s = timeout_s
        own = f"[{address.host}]" if ":" in address.host else address.host
        self._hosts = {"localhost", "127.0.0.1", "[::1]", own.lower()}
        self._servers: list[asyncio.Server] = []
        self._exchange = Exchange(self._answer, self.refused, MAX_CONNECTIONS, timeout_s=timeout_s)
        self._metrics: Any = None  # made at the first scrape
        self._routes = {
            b"/healthz": self._healthz,
            b"/readyz": self._readyz,
            b"/metrics": self._scrape,
        }

    async def open(self) -> None:
        """Listen. Raises `EnvironmentFault`."""
        found: list[Address] = []
        for address in numeric(self._address, socket.SOCK_STREAM, _OWNER):
            sock, bound = bound_socket(address, socket.SOCK_STREAM, _OWNER)
            server = await asyncio.start_server(
                self._exchange.accept, sock=sock, limit=MAX_REQUEST_BYTES, backlog=MAX_CONNECTIONS
            )
            self._servers.append(server)
            found.append(bound)
        self.listening = tuple(found)

    @staticmethod
    def rehearse(address: Address) -> None:
        """Bind and let go at once. Raises what `open` would."""
        for one in numeric(address, socket.SOCK_STREAM, _OWNER):
            try_bound_socket(one, socket.SOCK_STREAM, _OWNER)

    async def close(self) -> None:
        """Stop listening and end every connection. Safe to call twice, and when never opened."""
        for server in self._servers:
            server.close()
        await self._exchange.close()

    async def _answer(self, request: Request) -> Answer:
        if not self._is_ours(request):
            self.refused["host"] += 1
            return Answer(421, b"this address answers to localhost only\n")
        route = self._routes.get(request.path)
        if route is None:
            return Answer(404, b"there are /metrics, /healthz and /readyz\n")
        if request.method not in {b"GET", b"HEAD"}:
            return Answer(405, b"only GET and HEAD\n", allow="GET, HEAD")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await route(request)
        except TimeoutError:
            raise
        except Exception:
            log.exception("admin_answer_failed", path=request.path)
            return Answer(500, b"internal error, see the log\n")

    def _is_ours(self, request: Request) -> bool:
        host = request.header(b"host")
        found = _HOST.fullmatch(host.lower())
        return not host or (found is not None and found[1] in self._hosts)  # HTTP/1.0 may name no host

    async def _healthz(self, request: Request) -> Answer:
        del request
        return Answer(200, b"ok\n")

    async def _readyz(self, request: Request) -> Answer:
        del request
        reasons = self._watch.readiness.reasons(self._view.clock())
        if not reasons:
            return Answer(200, b"ready\n")
        return Answer(503, "".join(f"{printable(reason)}\n" for reason in reasons).encode())

    async def _scrape(self, request: Request) -> Answer:
        if self._metrics is None:  # its import takes too long for the loop
            module = await asyncio.to_thread(importlib.import_module, "streamd.admin.metrics")
            self._metrics = module.Metrics(self._view, self._watch.readiness, self._watch.lag, self.refused)
        return Answer(200, *self._metrics.render(request.header(b"accept")))
