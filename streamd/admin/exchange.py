"""The connections of an admin server, and the HTTP stack behind them, imported at the first request."""

import asyncio
from collections import Counter
from collections.abc import Callable

import structlog

from streamd.admin.client_connection import ClientConnection, MakeParser

TIMEOUT_S = 5.0
"""For the whole request to come, and for the client to take everything that was written to it."""

log = structlog.get_logger()


class Exchange:
    """Answers one request on each connection.

    `load` makes what parses and answers requests. It runs in a thread when the first bytes arrive: importing
    an HTTP stack takes too long for the loop, and no start should pay for it. `answer_timeout_s` is how long
    an answer may take to begin; None: as long as it likes. At most `max_streams` answers at a time may be
    ones that do not end.

    `refused` counts by reason what got no answer, or not all of it: `connections` (too many at once),
    `streams` (the same of answers without an end), `timeout` (a request or a reader too slow), `request` (no
    HTTP, or too large) and `closed` (the client went away).
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
        """For the next connection."""
        return ClientConnection(self)

    def admit(self, connection: ClientConnection) -> bool:
        """Whether there is room for it."""
        if len(self.connections) >= self._max_connections:
            self.refused["connections"] += 1
            return False
        self.connections.add(connection)
        return True

    def has_room_for_a_stream(self) -> bool:
        """Whether one more answer may go on without an end: the other connections are for short answers."""
        if sum(other.is_stream for other in self.connections) >= self._max_streams:
            self.refused["streams"] += 1
            return False
        return True

    def forget(self, connection: ClientConnection) -> None:
        """It has ended, and what it asked for too."""
        self.connections.discard(connection)

    def begin(self, connection: ClientConnection) -> None:
        """Give it a parser, now or when the stack is there."""
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
            for connection in self.connections:  # each in a callback of its own: a fault in one is no other's
                asyncio.get_running_loop().call_soon(connection.begin, self._make_parser)
        finally:
            self._loading = None
