"""The connections of an admin server, and its HTTP stack, which is imported at the first request."""

import asyncio
from collections import Counter
from collections.abc import Callable

import structlog

from streamd.admin.client_connection import ClientConnection, MakeParser

TIMEOUT_S = 5.0
"""The limit for a whole request to arrive, and for the client to read all data that was written."""

log = structlog.get_logger()


class Exchange:
    """Answers one request on each connection.

    `load` returns the factory of parsers. It runs in a thread when the first bytes arrive, because the import
    of an HTTP stack is too slow for the loop and for a start. `answer_timeout_s` limits the time until an
    answer begins; None is no limit. At most `max_streams` answers without an end are open at a time.

    `refused` counts requests without a complete answer by reason: `connections` (too many at once), `streams`
    (too many answers without an end), `timeout` (a request or a client too slow), `request` (not HTTP, or too
    large) and `closed` (the client disconnected).
    """

    def __init__(
        self,
        load: Callable[[], MakeParser],
        refused: Counter[str],
        *,
        max_connections: int,
        max_streams: int,
        timeout_s: float = TIMEOUT_S,
        answer_timeout_s: float | None = None,
    ) -> None:
        self.connections: set[ClientConnection] = set()
        self.refused = refused
        self.timeout_s = timeout_s
        self.answer_timeout_s = answer_timeout_s
        self._max_connections = max_connections
        self._max_streams = max_streams
        self._load = load
        self._make_parser: MakeParser | None = None
        self._loading: asyncio.Task[None] | None = None

    def protocol(self) -> ClientConnection:
        """The protocol for a new connection."""
        return ClientConnection(self)

    def admit(self, connection: ClientConnection) -> bool:
        """Add the connection. Returns False if there are too many."""
        if len(self.connections) >= self._max_connections:
            self.refused["connections"] += 1
            return False
        self.connections.add(connection)
        return True

    def has_room_for_a_stream(self) -> bool:
        """Whether one more answer may have no end. The remaining connections are for short answers."""
        if sum(other.is_stream for other in self.connections) >= self._max_streams:
            self.refused["streams"] += 1
            return False
        return True

    def forget(self, connection: ClientConnection) -> None:
        """Remove a connection that has ended, together with its request."""
        self.connections.discard(connection)

    def begin(self, connection: ClientConnection) -> None:
        """Give the connection a parser, now or when the stack is imported."""
        if self._make_parser is not None:
            connection.begin(self._make_parser)
        elif self._loading is None:
            self._loading = asyncio.create_task(self._loaded())

    async def close(self) -> None:
        """End every connection. Safe to call twice."""
        tasks = set() if self._loading is None else {self._loading}
        for connection in list(self.connections):
            tasks |= connection.tasks
            connection.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _loaded(self) -> None:
        try:
            self._make_parser = await asyncio.to_thread(self._load)
        except Exception:
            log.exception("admin_stack_failed")
            for connection in list(self.connections):
                connection.abort()
        else:
            for connection in self.connections:  # each in its own callback, so that a fault affects only one
                asyncio.get_running_loop().call_soon(connection.begin, self._make_parser)
        finally:
            self._loading = None
