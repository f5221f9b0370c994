"""The routes without access control: metrics and health. They change nothing and show no data of records."""

import asyncio
import importlib
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from streamd.admin.repeated import Repeated
from streamd.admin.view import View
from streamd.admin.watch import Watch
from streamd.core.printable import printable


class OpenRoutes:
    """`/metrics`, `/healthz` and `/readyz`. `/readyz?watch=1` is a stream with an event every second."""

    def __init__(self, view: View, watch: Watch) -> None:
        self._view = view
        self._watch = watch
        self._readiness = Repeated("ready", self._ready)
        self._metrics: Any = None  # made at the first scrape

    def routes(self) -> list[Route]:
        """The routes, for the admin address and the control socket."""
        return [
            Route("/metrics", self._scrape),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
        ]

    async def _healthz(self, request: Request) -> Response:
        del request
        return PlainTextResponse("ok\n")

    async def _readyz(self, request: Request) -> Response:
        if request.query_params.get("watch") == "1":
            return self._readiness.answer(request)
        reasons = self._reasons()
        if not reasons:
            return PlainTextResponse("ready\n")
        return PlainTextResponse("".join(f"{reason}\n" for reason in reasons), 503)

    async def _scrape(self, request: Request) -> Response:
        if self._metrics is None:  # imported in a thread, because the import is too slow for the loop
            module = await asyncio.to_thread(importlib.import_module, "streamd.admin.metrics")
            self._metrics = module.Metrics(
                self._view, self._watch.readiness, self._watch.lag, self._view.admin_refused
            )
        text, content_type = self._metrics.render(request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": content_type})

    def _ready(self) -> dict[str, Any]:
        reasons = self._reasons()
        return {"ready": not reasons, "reasons": reasons}

    def _reasons(self) -> list[str]:
        return [printable(reason) for reason in self._watch.readiness.reasons(self._view.clock())]
