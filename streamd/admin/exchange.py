"""HTTP/1.1 of a server: one request a connection, every step of it bounded in size and time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import parse_qsl

import h11

MAX_REQUEST_BYTES = 16 * 1024
"""Request line and headers together."""
TIMEOUT_S = 5.0
"""For the whole request to come, and again for the whole answer to be taken."""
LINGER_S = 1.0
"""For the client to close first: closing over what it still sends would destroy the answer on its way."""

_READ_BYTES = 4096
_TEXT = "text/plain; charset=utf-8"


class Request(NamedTuple):
    """The head of a request. A body is not read: nothing here needs one."""

    method: bytes
    path: bytes
    """As it was sent: nothing is decoded."""
    query: bytes
    headers: dict[bytes, bytes]
    """By name in small letters; of several with one name the first."""
    transport: asyncio.BaseTransport

    def header(self, name: bytes) -> str:
        """Its value, or an empty text."""
        return self.headers.get(name, b"").decode("latin-1")

    def parameters(self) -> dict[str, str]:
        """The query, decoded; of several with one name the last. Raises `ValueError`."""
        if not self.query:
            return {}
        return dict(parse_qsl(self.query.decode(), keep_blank_values=True, strict_parsing=True))


class Answer(NamedTuple):
    """What one request gets."""

    code: int
    body: bytes
    content_type: str = _TEXT
    allow: str = ""
    """With code 405 the methods that are."""


class Exchange:
    """Reads the request of each connection, asks `answer` for the answer, and closes.

    `refused` counts by reason what got no answer of `answer`: `connections` (too many at once), `timeout` (a
    request or a reader too slow), `request` (no HTTP, or too large) and `closed` (the client went away).
    How long `answer` may take is its own affair.
    """

    def __init__(
        self,
        answer: Callable[[Request], Awaitable[Answer]],
        refused: Counter[str],
        max_connections: int,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.connections: set[asyncio.Task[None]] = set()
        self._answer = answer
        self._refused = refused
        self._max_connections = max_connections
        self._timeout_s = timeout_s

    async def close(self) -> None:
        """End every connection. Safe to call twice."""
        tasks = list(self.connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first byte to its end."""
        task = asyncio.current_task()
        if task is None or len(self.connections) >= self._max_connections:
            self._refused["connections"] += 1
            writer.transport.abort()
            return
        self.connections.add(task)
        try:
            await self._serve(reader, writer)
        except TimeoutError:
            self._refused["timeout"] += 1
        except OSError:
            self._refused["closed"] += 1
        except asyncio.CancelledError:
            return  # by `close`: asyncio's streams would log a task that ends as cancelled, with a traceback
        finally:
            writer.transport.abort()  # what was to be sent has been sent, or never will be
            self.connections.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_BYTES)
        head = False
        try:
            async with asyncio.timeout(self._timeout_s):
                asked = await _read_request(http, reader)
        except h11.RemoteProtocolError as error:
            self._refused["request"] += 1
            answer = Answer(error.error_status_hint, b"not a request this address understands\n")
        else:
            if asked is None:
                self._refused["closed"] += 1
                return
            head = asked.method == b"HEAD"
            path, _, query = asked.target.partition(b"?")
            headers = dict(reversed([(name, value) for name, value in asked.headers]))
            answer = await self._answer(Request(asked.method, path, query, headers, writer.transport))
        writer.transport.set_write_buffer_limits(high=0)  # so that drain waits until all of it is sent
        writer.write(_encode(http, answer, head=head))
        async with asyncio.timeout(self._timeout_s):
            await writer.drain()
        writer.write_eof()
        await _linger(reader)


async def _read_request(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The request line and headers; None where the client closed."""
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await reader.read(_READ_BYTES))
    return event if isinstance(event, h11.Request) else None


def _encode(http: h11.Connection, answer: Answer, *, head: bool) -> bytes:
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
    ]
    if answer.allow:
        headers.append(("Allow", answer.allow))
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
