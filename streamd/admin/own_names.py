"""Refuses requests of web pages: for another name, as after DNS rebinding, or of another origin."""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::[0-9]{0,5})?")
_FOREIGN = "this address does not answer to this name; [admin] names adds one\n"


class OwnNames:
    """Passes a request to the application if its `Host` is a loopback name, one of `names` or missing.

    HTTP/1.0 allows it to be missing. With `has_every_ip`, every IP address is an own name too: a web page
    that rebinds a name still sends that name. Other requests get 421 and are counted in `refused` as `host`.
    """

    def __init__(
        self, app: ASGIApp, names: Iterable[str], refused: Counter[str], *, has_every_ip: bool = False
    ) -> None:
        own = (f"[{name}]" if ":" in name else name for name in names)
        self._names = {"localhost", "127.0.0.1", "[::1]", *(name.lower() for name in own)}
        self._has_every_ip = has_every_ip
        self._app = app
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if not self._is_own(Headers(scope=scope).get("host", "").lower()):
            self._refused["host"] += 1
            app = PlainTextResponse(_FOREIGN, 421)
        await app(scope, receive, send)

    def _is_own(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if not host:
            return True
        return found is not None and (found[1] in self._names or (self._has_every_ip and _is_ip(found[1])))


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


class OwnOrigin:
    """Lets an application answer if the request is not one of a web page of another origin.

    A browser names the origin of the page in `Origin`, or compares it in `Sec-Fetch-Site`. Another port of
    this host is another origin. Such a request gets 403 and is counted in `refused` as `origin`: the page
    could not read the answer, but it would take connections and streams away from other clients. A link to
    this address may be followed unless it has a query, because that may ask for a stream. A proxy for one of
    `names` may have added TLS, so that `https` is then an own origin too.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], refused: Counter[str]) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in names)
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if not self._is_own(Headers(scope=scope), has_query=bool(scope["query_string"])):
            self._refused["origin"] += 1
            app = PlainTextResponse("this address does not answer to web pages of other origins\n", 403)
        await app(scope, receive, send)

    def _is_own(self, headers: Headers, *, has_query: bool) -> bool:
        host = headers.get("host", "").lower()
        own = {f"http://{host}"}
        if host.partition(":")[0] in self._names:
            own.add(f"https://{host}")
        if any(origin.lower() not in own for origin in headers.getlist("origin")):
            return False
        destination = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
        if destination == ("navigate", "document") and not has_query:
            return True
        return all(site in ("none", "same-origin") for site in headers.getlist("sec-fetch-site"))
