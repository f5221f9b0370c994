"""The routes that read databases: queries, the quality of the data, and senders."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamd.admin.backing import Backing
from streamd.admin.bounded_reading import BoundedReading
from streamd.admin.parameters import known, number
from streamd.admin.stack import WrongRequest
from streamd.admin.statement import OwnStatement, Statement
from streamd.config.databases import databases, schemas
from streamd.core.clock import read_clock
from streamd.core.listed import listed
from streamd.core.timestamp import from_epoch

MOST_ROWS = 10_000
_ROWS = 1000
_HOUR_S = 3600.0


class StoredRoutes:
    """`/query`, `/quality` and `/senders`. They only read, each for a bounded time."""

    def __init__(self, backing: Backing, reading: BoundedReading, statements: BoundedReading) -> None:
        self._backing = backing
        self._reading = reading
        self._statements = statements

    def routes(self) -> list[Route]:
        """The routes, for those who may see records."""
        return [
            Route("/query", self._query),
            Route("/quality", self._quality),
            Route("/senders", self._senders),
        ]

    async def _query(self, request: Request) -> Response:
        given = known(request, "sql", "sink", "limit")
        sql, sink = given.get("sql", "").strip(), given.get("sink")
        limit = min(number(given.get("limit", str(_ROWS))), MOST_ROWS)
        if not sql:
            raise WrongRequest(400, "sql is missing: one SELECT")
        loaded = self._backing.loaded()
        names = databases(loaded)
        if sink is not None and sink not in names:
            known_names = f"there are {listed(names)}" if names else "there is none"
            raise WrongRequest(400, f"no sink {sink} stores in a database; {known_names}")
        return await self._statements.answer(request, Statement(schemas(loaded, sink), sql=sql, limit=limit))

    async def _quality(self, request: Request) -> Response:
        known(request)
        loaded = self._backing.loaded()
        ledger = loaded.state_dir / loaded.config.ledger.path
        owner = next((name for name, path in databases(loaded).items() if path == ledger), "ledger")
        return await self._reading.answer(request, OwnStatement({"main": ledger}, "quality", owner))

    async def _senders(self, request: Request) -> Response:
        known(request)
        loaded = self._backing.loaded()
        files = {
            "main": loaded.state_dir / loaded.config.ledger.path,
            "dead": loaded.state_dir / loaded.config.dead_letters.path,
            **{f"sink {name}": path for name, path in databases(loaded).items()},
        }
        since = from_epoch(read_clock().wall_s - _HOUR_S)
        return await self._reading.answer(request, OwnStatement(files, "senders", since))
