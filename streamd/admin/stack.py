"""The HTTP stack: Starlette's routes, spoken by uvicorn's protocol. Importing it takes some 70 ms.

Of uvicorn only the protocol of a connection is used: no signals, no log, no timer that wakes an idle daemon.
"""

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from streamd.admin.client_connection import MAX_REQUEST_BYTES, ClientConnection, MakeParser, Parser
from streamd.core.errors import ConfigError, StreamdError
from streamd.core.printable import printable

_HEADERS = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"), ("Connection", "close")]


def connection_of(request: Request) -> ClientConnection:
    """The connection on which a request came."""
    found: ClientConnection = request.state.connection
    return found


def make_parser(app: ASGIApp) -> MakeParser:
    """What reads a request from a connection and lets the application answer it."""
    config = Config(
        app,
        http=H11Protocol,
        ws="none",
        loop="none",
        lifespan="off",
        interface="asgi3",
        workers=1,
        log_config=None,
        log_level="critical",  # what clients do is counted; what we do wrong, `Application` logs
        access_log=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=2 * MAX_REQUEST_BYTES,  # the connection counts more closely
    )
    config.load()
    headers = [(name.lower().encode(), value.encode()) for name, value in _HEADERS]

    def parser(connection: ClientConnection) -> Parser:
        state = ServerState()
        state.default_headers = headers
        return H11Protocol(config, state, {"connection": connection}), state.tasks

    return parser


class WrongRequest(Exception):  # noqa: N818 - it is a verdict on the request
    """It asks for something that does not exist; `code` is 400 or 404."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Application:
    """Routes, and an answer for everything that is none of them or goes wrong in one.

    A path is compared as it was sent: nothing in it is decoded. `log_fault` gets the path and the exception
    of a fault of ours.
    """

    def __init__(self, routes: Sequence[Route], log_fault: Callable[[str, Exception], None]) -> None:
        paths = [route.path for route in routes if "{" not in route.path]
        self._existing = f"there are {', '.join(paths[:-1])} and {paths[-1]}\n"
        self._log_fault = log_fault
        self._app = Starlette(
            routes=routes,
            exception_handlers={
                404: self._not_found,
                405: _not_allowed,
                StreamdError: _refused,
                WrongRequest: _refused,
                Exception: _failed,
            },
        )
        self._app.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["path"] = scope["raw_path"].decode("latin-1")
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the client has its 500, or a stream that breaks off
            self._log_fault(scope["path"], error)

    async def _not_found(self, request: Request, error: Exception) -> Response:
        del request, error
        return PlainTextResponse(self._existing, 404)


async def _not_allowed(request: Request, error: Exception) -> Response:
    del request
    allowed = sorted(getattr(error, "headers", {})["Allow"].split(", "))  # Starlette keeps them in a set
    text = f"only {' and '.join(allowed)}\n"
    return PlainTextResponse(text, 405, {"Allow": ", ".join(allowed)})


async def _refused(request: Request, error: Exception) -> Response:
    del request
    code = getattr(error, "code", 422 if isinstance(error, ConfigError) else 503)
    text = "".join(f"{printable(line, 4096)}\n" for line in str(error).splitlines())
    return PlainTextResponse(text, code)


async def _failed(request: Request, error: Exception) -> Response:
    del request, error
    return PlainTextResponse("internal error, see the log\n", 500)
