"""The routes of the control socket, which show data or change the daemon."""

import asyncio
import json
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamd.admin.control import AskingProcess, Reload
from streamd.admin.repeated import Repeated
from streamd.admin.stack import WrongRequest, connection_of
from streamd.admin.status import status
from streamd.admin.view import View
from streamd.admin.watch import Watch
from streamd.core.moment import moment
from streamd.dead_letters import reader as dead_letter_reader
from streamd.dead_letters.filter import LetterFilter
from streamd.net.unix_socket import CREDENTIALS
from streamd.sqlite.read_only import only_reading, open_read_only

MOST_LETTERS = 1000
"""The most dead letters in one answer."""

_FILTERS = ("reason", "source", "stage", "pipeline", "since")
_MOST_DIGITS = 18
"""Numbers of SQLite have 63 bits."""


class ControlRoutes:
    """`/status`, `/reload` and `/dead-letters`. `/status?watch=1` is a stream with an event every second."""

    def __init__(self, view: View, watch: Watch, reload: Reload, dead_letters: Path) -> None:
        self._view = view
        self._watch = watch
        self._reload = reload
        self._dead_letters = dead_letters
        self._repeated = Repeated("status", self._document)

    def routes(self) -> list[Route]:
        """The routes, for the control socket only."""
        return [
            Route("/status", self._status),
            Route("/reload", self._reloaded, methods=["POST"]),
            Route("/dead-letters", self._letters),
            Route("/dead-letters/{name:path}", self._letters),
        ]

    async def _status(self, request: Request) -> Response:
        if _flag(_known(request, "watch"), "watch"):
            return self._repeated.answer(request)
        return _json(self._document())

    def _document(self) -> dict[str, Any]:
        watch = self._watch
        return status(self._view, watch.readiness, watch.lag, watch.recent, self._view.clock())

    async def _reloaded(self, request: Request) -> Response:
        dry_run = _flag(_known(request, "dry_run"), "dry_run")
        sock = connection_of(request).transport.get_extra_info("socket")
        peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        return _json(await self._reload(dry_run, AskingProcess(*CREDENTIALS.unpack(peer))))

    async def _letters(self, request: Request) -> Response:
        name = request.path_params.get("name", "")
        if name == "count":
            wanted = self._wanted(_known(request, *_FILTERS))
            return await self._read(lambda c: dead_letter_reader.counts(c, wanted))
        if not name:
            given = _known(request, *_FILTERS, "limit")
            limit = min(_number(given.pop("limit", "50")), MOST_LETTERS)
            wanted = self._wanted(given)
            return await self._read(lambda c: dead_letter_reader.letters(c, wanted, limit))
        _known(request)
        number = _number(name)
        try:
            return await self._read(lambda c: dead_letter_reader.letter(c, number))
        except LookupError as error:
            raise WrongRequest(404, error.args[0]) from None

    def _wanted(self, given: dict[str, str]) -> LetterFilter:
        try:
            since = moment(given["since"], self._view.clock().wall_s, "UTC") if "since" in given else None
        except ValueError as error:
            raise WrongRequest(400, f"since: {error}") from None
        reason, source, stage, pipeline = map(given.get, ("reason", "source", "stage", "pipeline"))
        return LetterFilter(reason, source, stage, pipeline, since)

    async def _read(self, query: Callable[[sqlite3.Connection], Any]) -> Response:
        def answer() -> Any:
            with closing(open_read_only(self._dead_letters)) as connection, only_reading(connection):
                return query(connection)

        return _json(await asyncio.to_thread(answer))


def _json(document: Any) -> Response:
    return Response(json.dumps(document, allow_nan=False) + "\n", media_type="application/json")


def _known(request: Request, *names: str) -> dict[str, str]:
    """The parameters of the query. Raises `WrongRequest` for one that is not in `names`."""
    query = request.scope["query_string"]
    try:
        given = dict(parse_qsl(query.decode(), keep_blank_values=True, strict_parsing=True)) if query else {}
    except ValueError:
        raise WrongRequest(400, "the query must have the form name=value&name=value") from None
    for name in given:
        if name not in names:
            raise WrongRequest(400, f"{name} is no parameter here; there are {', '.join(names) or 'none'}")
    return given


def _flag(given: dict[str, str], name: str) -> bool:
    if given.get(name, "0") not in {"0", "1"}:
        raise WrongRequest(400, f"{name} must be 0 or 1")
    return given.get(name) == "1"


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise WrongRequest(400, f"{text} is no number")
    return int(text)
