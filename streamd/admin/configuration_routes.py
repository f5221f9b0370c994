"""The routes of the configuration and of its tests."""

import asyncio
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamd.admin.backing import Backing
from streamd.admin.parameters import as_json, known
from streamd.admin.stack import connection_of
from streamd.admin.view import View
from streamd.config import Loaded
from streamd.config.resolved import resolved_for_others


class ConfigurationRoutes:
    """`/configuration` shows it with every default, without possible secrets. `/tests` runs its tests."""

    def __init__(self, view: View, backing: Backing) -> None:
        self._view = view
        self._backing = backing
        self._shown: tuple[Loaded, dict[str, Any]] | None = None

    def routes(self) -> list[Route]:
        """The routes, for those who may see the configuration."""
        return [
            Route("/configuration", self._configuration),
            Route("/tests", self._tests, methods=["POST"]),
        ]

    async def _configuration(self, request: Request) -> Response:
        known(request)
        loaded = self._backing.loaded()
        if self._shown is None or self._shown[0] is not loaded:
            self._shown = loaded, await asyncio.to_thread(_document, loaded)
        view = self._view
        at = datetime.fromtimestamp(view.reloaded_at_wall_s or view.started_at_wall_s, UTC)
        failure = view.reload_failure
        why = None if failure is None else failure.why.splitlines()
        return as_json(
            {**self._shown[1], "loaded_at": at.isoformat(timespec="seconds"), "reload_failure": why}
        )

    async def _tests(self, request: Request) -> Response:
        known(request)
        connection_of(request).take_time()
        return as_json(await self._backing.tests())


def _document(loaded: Loaded) -> dict[str, Any]:
    return {
        "path": str(loaded.path.absolute()),
        "text": resolved_for_others(loaded),
        "tests": list(_names(loaded)),
    }


def _names(loaded: Loaded) -> Iterator[str]:
    """The names of the tests, in the files of the configuration and in those beside it."""
    written = list(loaded.written.tests.values())
    for file in sorted(loaded.path.parent.glob(f"{_escaped(loaded.path.stem)}*.test.toml")):
        with suppress(OSError, ValueError):
            written.append(tomllib.loads(file.read_text("utf-8")).get("tests"))
    for cases in written:
        for case in cases if isinstance(cases, list) else ():
            if isinstance(case, dict) and isinstance(case.get("name"), str):
                yield case["name"]


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
