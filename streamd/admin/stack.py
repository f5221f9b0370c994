"""The HTTP stack: routes of Starlette behind the HTTP protocol of uvicorn. Its import takes about 70 ms.

Only uvicorn's protocol class is used, without its signals, its log, and its timer, which would wake an idle
daemon.
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
from streamd.admin.target import OriginForm
from streamd.core.errors import ConfigError, StreamdError
from streamd.core.printable import printable

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
    ("Content-Security-Policy", _POLICY),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
]


def connection_of(request: Request) -> ClientConnection:
    """The connection of a request."""
    found: ClientConnection = request.state.connection
    return found


def make_parser(app: ASGIApp) -> MakeParser:
    """The factory of parsers, each of which reads a request and lets the application answer it."""
    config = Config(
        OriginForm(app),
        http=H11Protocol,
        ws="none",
        loop="none",
        lifespan="off",
        interface="asgi3",
        workers=1,
        log_config=None,
        log_level="critical",  # refusals are counted, and `Application` logs faults of the server
        access_log=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=2 * MAX_REQUEST_BYTES,  # `ClientConnection` has the exact limit
    )
    config.load()
    headers = [(name.lower().encode(), value.encode()) for name, value in _HEADERS]

    def parser(connection: ClientConnection) -> Parser:
        state = ServerState()
        state.default_headers = headers
        return H11Protocol(config, state, {"connection": connection}), state.tasks

    return parser


class WrongRequest(Exception):  # noqa: N818 - a fault of the client, not of streamd
    """A request with wrong parameters, or for a missing object. `code` is 400 or 404."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Application:
    """Routes, with answers for unknown paths, wrong methods and errors.

    Paths are compared undecoded. `log_fault` is called with the path and the exception of a server fault.
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
        except Exception as error:  # noqa: BLE001 - the client got a 500, or a stream that breaks off
            self._log_fault(scope["path"], error)

    async def _not_found(self, request: Request, error: Exception) -> Response:
        del request, error
        return PlainTextResponse(self._existing, 404)


async def _not_allowed(request: Request, error: Exception) -> Response:
    del request
    allowed = sorted(getattr(error, "headers", {})["Allow"].split(", "))  # Starlette's order is that of a set
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
