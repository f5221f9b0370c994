"""The routes for a monitoring system: metrics and health. They change nothing and show no data of records."""

import asyncio
import importlib
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from streamd.admin.parameters import flag, known
from streamd.admin.repeated import Repeated
from streamd.admin.view import View
from streamd.admin.watch import Watch
from streamd.core.printable import printable


class OpenRoutes:
    """`/metrics`, `/healthz` and `/readyz`. `/readyz?watch=1` is a stream with an event every second."""

    def __init__(self, view: View, watch: Watch) -> None:
        self._view = view
        self._watch = watch
        self._readiness = Repeated("ready", self._ready, watch.began_mono_s)
        self._metrics: Any = None  # made at the first scrape

    def health_routes(self) -> list[Route]:
        """The routes that say whether the daemon lives and whether data flows."""
        return [Route("/healthz", self._healthz), Route("/readyz", self._readyz)]

    def metrics_routes(self) -> list[Route]:
        """The route that a monitoring system reads."""
        return [Route("/metrics", self._scrape)]

    async def _healthz(self, request: Request) -> Response:
        known(request)
        return PlainTextResponse("ok\n")

    async def _readyz(self, request: Request) -> Response:
        if flag(known(request, "watch"), "watch"):
            return self._readiness.answer(request)
        reasons = self._reasons()
        if not reasons:
            return PlainTextResponse("ready\n")
        return PlainTextResponse("".join(f"{reason}\n" for reason in reasons), 503)

    async def _scrape(self, request: Request) -> Response:
        known(request)
        if self._metrics is None:  # imported in a thread, because the import is too slow for the loop
            module = await asyncio.to_thread(importlib.import_module, "streamd.admin.metrics")
            self._metrics = module.Metrics(self._view, self._watch, self._view.admin_refused)
        text, content_type = self._metrics.render(request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": content_type})

    def _ready(self, seq: int) -> dict[str, Any]:
        del seq
        reasons = self._reasons()
        return {"ready": not reasons, "reasons": reasons}

    def _reasons(self) -> list[str]:
        return [printable(reason) for reason in self._watch.readiness.reasons(self._view.clock())]
