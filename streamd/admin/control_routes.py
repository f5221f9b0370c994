"""The routes that only the control socket has."""

import socket

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamd.admin.control import AskingProcess, Reload
from streamd.admin.parameters import as_json, flag, known
from streamd.admin.stack import WrongRequest, connection_of
from streamd.admin.view import View
from streamd.net.unix_socket import CREDENTIALS


class ControlRoutes:
    """`/reload`, and `/page-address` with the token, whose rights are those of the socket."""

    def __init__(self, view: View, reload: Reload) -> None:
        self._view = view
        self._reload = reload

    def routes(self) -> list[Route]:
        """The routes, for the control socket only."""
        return [
            Route("/reload", self._reloaded, methods=["POST"]),
            Route("/page-address", self._page_address),
        ]

    async def _page_address(self, request: Request) -> Response:
        known(request)
        page = self._view.page()
        if page is None:
            raise WrongRequest(404, "the admin address is turned off ([admin] listen), or not open yet")
        served_at, token = page
        return as_json({"served_at": served_at, "token": token})

    async def _reloaded(self, request: Request) -> Response:
        dry_run = flag(known(request, "dry_run"), "dry_run")
        sock = connection_of(request).transport.get_extra_info("socket")
        peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        return as_json(await self._reload(dry_run, AskingProcess(*CREDENTIALS.unpack(peer))))
