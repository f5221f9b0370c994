"""An answer that is given again and again: server-sent events, one a second."""

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
    """A document as an event a second, each made once for all who read.

    An event's `id` is the second in which it was made. A client that reads slowly gets the newest one next,
    and sees by the ids how many it has missed.
    """

    def __init__(self, name: str, document: Callable[[], Any]) -> None:
        self._name = name
        self._document = document
        self._newest = (-1, b"")

    def answer(self, request: Request) -> Response:
        """The stream; it ends when the client goes away or the daemon stops."""
        if request.method == "HEAD":
            head = Response(media_type=_TYPE)
            del head.headers["content-length"]  # it is not 0
            return head
        if not connection_of(request).try_stream():
            return PlainTextResponse("too many clients read such a stream already\n", 503)
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
