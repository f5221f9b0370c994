"""HTTP on a loopback address: one request a connection, every step of it bounded in size and time."""

import asyncio
import errno
import importlib
import json
import re
from collections import Counter
from typing import Any, NamedTuple

import h11
import structlog

from streamd.admin.lag import LoopLag
from streamd.admin.readiness import Readiness
from streamd.admin.status import status
from streamd.admin.view import View
from streamd.core.errors import EnvironmentFault
from streamd.core.printable import printable
from streamd.core.settings import Address

MAX_CONNECTIONS = 64
MAX_REQUEST_BYTES = 16 * 1024
"""Request line and headers together."""
TIMEOUT_S = 5.0
"""For the whole request to come, and again for the whole answer to be taken."""
LINGER_S = 1.0
"""For the client to close first: closing over what it still sends would destroy the answer on its way."""

_READ_BYTES = 4096
_TEXT = "text/plain; charset=utf-8"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::[0-9]{0,5})?")

log = structlog.get_logger()


class Answer(NamedTuple):
    """What one request gets."""

    code: int
    body: bytes
    content_type: str = _TEXT


class AdminServer:
    """Serves `/metrics`, `/healthz`, `/readyz` and `/status`, and keeps the watch readiness depends on.

    `refused` counts by reason what got no such answer: `connections` (too many at once), `timeout` (a
    request or a reader too slow), `request` (no HTTP, or too large), `host` (a name that is not ours, as a
    web page that rebinds its DNS name would send) and `closed` (the client went away).
    """

    def __init__(self, view: View, address: Address, *, timeout_s: float = TIMEOUT_S) -> None:
        self.lag = LoopLag(view.clock)
        self.readiness = Readiness(view, self.lag)
        self.refused: Counter[str] = Counter()
        self.listening: tuple[Address, ...] = ()
        self._view = view
        self._address = address
        self._timeout_s = timeout_s
        own = f"[{address.host}]" if ":" in address.host else address.host
        self._hosts = {"localhost", "127.0.0.1", "[::1]", own.lower()}
        self._server: asyncio.Server | None = None
        self._watch: asyncio.Task[None] | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._metrics: Any = None  # made at the first scrape
        self._routes = {
            b"/healthz": self._healthz,
            b"/readyz": self._readyz,
            b"/status": self._status,
            b"/metrics": self._scrape,
        }

    async def open(self) -> None:
        """Listen and begin to watch. Raises `EnvironmentFault`."""
        try:
            self._server = await asyncio.start_server(
                self._accept, *self._address, limit=MAX_REQUEST_BYTES, backlog=MAX_CONNECTIONS
            )
        except OSError as error:
            advice = (
                "something else listens there; stop it or choose another port"
                if error.errno == errno.EADDRINUSE
                else "choose an address of this host"
            )
            raise EnvironmentFault(
                f"[admin] cannot listen on {self._address}: {error.strerror}; {advice}"
            ) from error
        names = [socket.getsockname() for socket in self._server.sockets]
        self.listening = tuple(Address(name[0], name[1]) for name in names)
        self._watch = asyncio.create_task(self.lag.run(self.readiness.observe))

    async def close(self) -> None:
        """Stop listening and end every connection. Safe to call twice, and when never opened."""
        if self._server is not None:
            self._server.close()
        tasks = [*self._connections, *([self._watch] if self._watch else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MAX_CONNECTIONS:
            self.refused["connections"] += 1
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except TimeoutError:
            self.refused["timeout"] += 1
        except OSError:
            self.refused["closed"] += 1
        finally:
            writer.transport.abort()  # what was to be sent has been sent, or never will be
            self._connections.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_BYTES)
        async with asyncio.timeout(self._timeout_s):
            try:
                request = await _read_request(http, reader)
            except h11.RemoteProtocolError as error:
                self.refused["request"] += 1
                request = None
                answer = Answer(error.error_status_hint, b"not a request this address understands\n")
            else:
                if request is None:
                    self.refused["closed"] += 1
                    return
                answer = await self._answer(request)
        writer.transport.set_write_buffer_limits(high=0)  # so that drain waits until all of it is sent
        writer.write(_encode(http, answer, head=request is not None and request.method == b"HEAD"))
        async with asyncio.timeout(self._timeout_s):
            await writer.drain()
        writer.write_eof()
        await _linger(reader)

    async def _answer(self, request: h11.Request) -> Answer:
        if not self._is_ours(request):
            self.refused["host"] += 1
            return Answer(421, b"this address answers to localhost only\n")
        path = request.target.partition(b"?")[0]
        route = self._routes.get(path)
        if route is None:
            return Answer(404, b"there are /metrics, /healthz, /readyz and /status\n")
        if request.method not in {b"GET", b"HEAD"}:
            return Answer(405, b"only GET and HEAD\n")
        try:
            return await route(request)
        except Exception:
            log.exception("admin_answer_failed", path=path)
            return Answer(500, b"internal error, see the log\n")

    def _is_ours(self, request: h11.Request) -> bool:
        host = _header(request, b"host")
        found = _HOST.fullmatch(host.lower())
        return not host or (found is not None and found[1] in self._hosts)  # HTTP/1.0 may name no host

    async def _healthz(self, request: h11.Request) -> Answer:
        del request
        return Answer(200, b"ok\n")

    async def _readyz(self, request: h11.Request) -> Answer:
        del request
        reasons = self.readiness.reasons(self._view.clock())
        if not reasons:
            return Answer(200, b"ready\n")
        return Answer(503, "".join(f"{printable(reason)}\n" for reason in reasons).encode())

    async def _status(self, request: h11.Request) -> Answer:
        del request
        document = status(self._view, self.readiness, self.lag, self._view.clock())
        document["admin"] = {"refused": dict(self.refused)}
        return Answer(200, json.dumps(document, allow_nan=False).encode() + b"\n", "application/json")

    async def _scrape(self, request: h11.Request) -> Answer:
        if self._metrics is None:  # its import takes too long for the loop
            module = await asyncio.to_thread(importlib.import_module, "streamd.admin.metrics")
            self._metrics = module.Metrics(self._view, self.readiness, self.lag, self.refused)
        return Answer(200, *self._metrics.render(_header(request, b"accept")))


async def _read_request(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The request line and headers; None where the client closed. A body, which none needs, is not read."""
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await reader.read(_READ_BYTES))
    return event if isinstance(event, h11.Request) else None


def _header(request: h11.Request, name: bytes) -> str:
    return next((value.decode("latin-1") for known, value in request.headers if known == name), "")


def _encode(http: h11.Connection, answer: Answer, *, head: bool) -> bytes:
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
    ]
    if answer.code == 405:  # noqa: PLR2004 - RFC 9110, section 15.5.6: it names what is allowed
        headers.append(("Allow", "GET, HEAD"))
    parts = [http.send(h11.Response(status_code=answer.code, headers=headers))]
    if not head:
        parts.append(http.send(h11.Data(data=answer.body)))
    return b"".join(part or b"" for part in [*parts, http.send(h11.EndOfMessage())])


async def _linger(reader: asyncio.StreamReader) -> None:
    try:
        async with asyncio.timeout(LINGER_S):
            for _ in range(MAX_REQUEST_BYTES // _READ_BYTES):
                if not await reader.read(_READ_BYTES):
                    return
    except (TimeoutError, OSError):
        return  # the answer is sent; how the client ends is its own affair
