"""Request targets in absolute form, `GET http://host/status HTTP/1.1` (RFC 9112 section 3.2.2)."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_ABSOLUTE = re.compile(rb"http://([^/]+)(/.*)?", re.IGNORECASE | re.DOTALL)


class OriginForm:
    """Passes a request to the application as if its target were in origin form.

    The host of the target replaces the one in `Host`, so that the application checks that host. A target that
    names no host, or is not `http`, stays as it is: there is no such path.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (found := _ABSOLUTE.fullmatch(scope["raw_path"])) is not None:
            host, path = found[1], found[2] or b"/"
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            headers = [(b"host", host), *others]
            scope = {**scope, "raw_path": path, "path": path.decode("latin-1"), "headers": headers}
        await self._app(scope, receive, send)
