"""Refuses requests of web pages: for another name, as after DNS rebinding, or of another origin."""

import re
from collections import Counter

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::[0-9]{0,5})?")


class OwnNames:
    """Passes a request to the application if its `Host` is a loopback name, `host` or missing (HTTP/1.0).

    Other requests get 421 and are counted in `refused` as `host`.
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


class OwnOrigin:
    """Lets an application answer if the request is not one of a web page of another origin.

    A browser names the origin of the page in `Origin`, or compares it in `Sec-Fetch-Site`. Another port of
    this host is another origin. Such a request gets 403 and is counted in `refused` as `origin`: the page
    could not read the answer, but it would take connections and streams away from other clients. A link to
    this address may be followed unless it has a query, because that may ask for a stream.
    """

    def __init__(self, app: ASGIApp, refused: Counter[str]) -> None:
        self._app = app
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if not _is_own_origin(Headers(scope=scope), has_query=bool(scope["query_string"])):
            self._refused["origin"] += 1
            app = PlainTextResponse("this address does not answer to web pages of other origins\n", 403)
        await app(scope, receive, send)


def _is_own_origin(headers: Headers, *, has_query: bool) -> bool:
    own = f"http://{headers.get('host', '')}".lower()
    if any(origin.lower() != own for origin in headers.getlist("origin")):
        return False
    destination = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
    if destination == ("navigate", "document") and not has_query:
        return True
    return all(site in ("none", "same-origin") for site in headers.getlist("sec-fetch-site"))
