"""The routes of status, its events and the history. They show no data of records."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamd.admin import history, openapi
from streamd.admin.parameters import as_json, flag, known, number
from streamd.admin.repeated import Repeated
from streamd.admin.stack import WrongRequest
from streamd.admin.status import status
from streamd.admin.view import View
from streamd.admin.watch import Watch

_WHY_HIDDEN = "the reason may quote the configuration: `streamd status` and the log show it"


class LiveRoutes:
    """`/status`, `/events` (the same as `/status?watch=1`), `/history` and `/openapi.json`.

    For `everyone`, who may not be allowed to read the configuration, the lines of a refused reload are left
    out.
    """

    def __init__(self, view: View, watch: Watch, *, everyone: bool) -> None:
        self._view = view
        self._watch = watch
        self._everyone = everyone
        self._events = Repeated("status", self._document, watch.began_mono_s)

    def routes(self) -> list[Route]:
        """The routes, for the admin address and the control socket."""
        return [
            Route("/status", self._status),
            Route("/events", self._stream),
            Route("/history", self._history),
            Route("/openapi.json", self._openapi),
        ]

    async def _status(self, request: Request) -> Response:
        if flag(known(request, "watch"), "watch"):
            return self._events.answer(request)
        return as_json(self._document(self._watch.seq(self._view.clock())))

    async def _stream(self, request: Request) -> Response:
        known(request)
        return self._events.answer(request)

    async def _history(self, request: Request) -> Response:
        given = known(request, "s", "since")
        if len(given) > 1:
            raise WrongRequest(400, "s and since exclude each other")
        if "since" in given:
            cut = self._watch.history.cut(since=number(given["since"]))
        else:
            cut = self._watch.history.cut(samples=min(number(given.get("s", "600")), history.SAMPLES))
        text = await asyncio.to_thread(history.as_json, cut)  # with many series it takes some milliseconds
        return Response(text, media_type="application/json")

    async def _openapi(self, request: Request) -> Response:
        known(request)
        return as_json(openapi.document())

    def _document(self, seq: int) -> dict[str, Any]:
        document = status(self._view, self._watch, self._view.clock(), seq)
        if self._everyone and document["reload_failure"] is not None:
            document["reload_failure"]["why"] = [_WHY_HIDDEN]
        return document
