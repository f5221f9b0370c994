"""Requests for other names than ours, as a web page sends that rebinds its DNS name to this host."""

import re
from collections import Counter

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::[0-9]{0,5})?")


class OwnNames:
    """Lets an application answer where the `Host` of a request is a loopback name or `host`.

    HTTP/1.0 may name no host. Other requests get 421 and are counted in `refused` as `host`.
    """

    def __init__(self, app: ASGIApp, host: str, refused: Counter[str]) -> None:
        own = f"[{host}]" if ":" in host else host
        self._names = {"localhost", "127.0.0.1", "[::1]", own.lower()}
        self._app = app
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if not self._is_own(Headers(scope=scope).get("host", "").lower()):
            self._refused["host"] += 1
            app = PlainTextResponse("this address answers to localhost only\n", 421)
        await app(scope, receive, send)

    def _is_own(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        return not host or (found is not None and found[1] in self._names)
