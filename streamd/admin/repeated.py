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

    An event's `id` is the second since `began_mono_s` in which it was made; `document` is called with it. A
    slow client gets the newest event next, and the ids show it how many events it has missed.
    """

    def __init__(self, name: str, document: Callable[[int], Any], began_mono_s: float) -> None:
        self._name = name
        self._document = document
        self._began_mono_s = began_mono_s
        self._newest: tuple[int | None, bytes] = (None, b"")

    def answer(self, request: Request) -> Response:
        """The stream, which ends when the client disconnects or the daemon stops.

        It begins with an event at once, unless the client has had the newest one (`Last-Event-ID`).
        """
        if request.method == "HEAD":
            head = Response(media_type=_TYPE)
            del head.headers["content-length"]  # the stream has none
            return head
        if not connection_of(request).try_stream():
            return PlainTextResponse("too many clients read an event stream already\n", 503)
        return StreamingResponse(self._events(request.headers.get("last-event-id", "")), media_type=_TYPE)

    async def _events(self, last_id: str) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        while True:
            tick = int(loop.time() / INTERVAL_S)
            seq = tick - int(self._began_mono_s / INTERVAL_S)
            if str(seq) != last_id:
                yield self._event(seq)
            last_id = ""
            await asyncio.sleep((tick + 1) * INTERVAL_S - loop.time())

    def _event(self, seq: int) -> bytes:
        if seq != self._newest[0]:
            text = json.dumps(self._document(seq), allow_nan=False)
            self._newest = seq, f"event: {self._name}\nid: {seq}\ndata: {text}\n\n".encode()
        return self._newest[1]
