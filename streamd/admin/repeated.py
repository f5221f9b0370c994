"""A stream of server-sent events, one each second."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from streamd.admin.stack import connection_of

INTERVAL_S = 1.0
_TYPE = "text/event-stream"


class Repeated:
    """Sends a document as an event each second. Each event is made once for all clients.

    An event's `id` is the second in which it was made. A slow client gets the newest event next, and the ids
    show it how many events it has missed.
    """

    def __init__(self, name: str, document: Callable[[], Any]) -> None:
        self._name = name
        self._document = document
        self._newest = (-1, b"")

    def answer(self, request: Request) -> Response:
        """The stream, which ends when the client disconnects or the daemon stops."""
        if request.method == "HEAD":
            head = Response(media_type=_TYPE)
            del head.headers["content-length"]  # the stream has none
            return head
        if not connection_of(request).try_stream():
            return PlainTextResponse("too many clients read an event stream already\n", 503)
        return StreamingResponse(self._events(), media_type=_TYPE)

    async def _events(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        while True:
            tick = int(loop.time() / INTERVAL_S)
            if tick != self._newest[0]:
                text = json.dumps(self._document(), allow_nan=False)
                self._newest = tick, f"event: {self._name}\nid: {tick}\ndata: {text}\n\n".encode()
            yield self._newest[1]
            await asyncio.sleep((tick + 1) * INTERVAL_S - loop.time())
