"""The routes of dead letters."""

import sqlite3
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamd.admin.backing import Backing
from streamd.admin.bounded_reading import BoundedReading, OwnQuery
from streamd.admin.parameters import as_json, known, number
from streamd.admin.stack import WrongRequest, connection_of
from streamd.admin.view import View
from streamd.core.moment import moment
from streamd.dead_letters import reader as dead_letter_reader
from streamd.dead_letters.filter import LetterFilter
from streamd.sqlite.read_only import open_read_only

MOST_LETTERS = 1000
"""The most dead letters in one answer, and in one replay."""

_FILTERS = ("reason", "source", "stage", "pipeline", "since")


class LettersRoutes:
    """`/dead-letters`: lists, counts, shows and replays them."""

    def __init__(self, view: View, backing: Backing, reading: BoundedReading) -> None:
        self._view = view
        self._backing = backing
        self._reading = reading

    def routes(self) -> list[Route]:
        """The routes, for those who may see records."""
        return [
            Route("/dead-letters", self._letters),
            Route("/dead-letters/replay", self._replay, methods=["POST"]),
            Route("/dead-letters/{name:path}", self._letters),
        ]

    async def _letters(self, request: Request) -> Response:
        name = request.path_params.get("name", "")
        if name == "count":
            wanted = self._wanted(known(request, *_FILTERS))
            return await self._read(request, lambda c: dead_letter_reader.counts(c, wanted))
        if not name:
            given = known(request, *_FILTERS, "limit")
            limit = min(number(given.pop("limit", "50")), MOST_LETTERS)
            wanted = self._wanted(given)
            return await self._read(request, lambda c: dead_letter_reader.letters(c, wanted, limit))
        known(request)
        letter_id = number(name)
        try:
            return await self._read(request, lambda c: dead_letter_reader.letter(c, letter_id))
        except LookupError as error:
            raise WrongRequest(404, error.args[0]) from None

    async def _replay(self, request: Request) -> Response:
        given = known(request, "ids").get("ids", "")
        ids = [number(text) for text in given.split(",")]
        if 0 in ids:
            raise WrongRequest(400, "the numbers of dead letters begin with 1")
        if len(ids) > MOST_LETTERS:
            raise WrongRequest(400, f"at most {MOST_LETTERS:,} dead letters are replayed at once")
        connection_of(request).take_time()
        return as_json(await self._backing.replay(ids))

    def _wanted(self, given: dict[str, str]) -> LetterFilter:
        try:
            since = moment(given["since"], self._view.clock().wall_s, "UTC") if "since" in given else None
        except ValueError as error:
            raise WrongRequest(400, f"since: {error}") from None
        reason, source, stage, pipeline = map(given.get, ("reason", "source", "stage", "pipeline"))
        return LetterFilter(reason, source, stage, pipeline, since)

    async def _read(self, request: Request, query: Callable[[sqlite3.Connection], Any]) -> Response:
        loaded = self._backing.loaded()
        file = loaded.state_dir / loaded.config.dead_letters.path
        return await self._reading.answer(request, OwnQuery(lambda: open_read_only(file), query))
