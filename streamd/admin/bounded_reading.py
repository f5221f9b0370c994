"""Reads databases for requests: in threads of their own, few at a time, and for a bounded time."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streamd.admin.stack import WrongRequest, connection_of
from streamd.core.clock import read_clock
from streamd.sqlite.read_only import QueryRefused, only_reading

LIMIT_S = 4.5
"""The longest time of one read. The server aborts an answer that has not begun after 5 s."""
MOST_AT_ONCE = 2
TOO_LONG = "the query took longer than {:g} s: narrow it, or use `streamd query`, which has no limit"
GONE = "the client has disconnected"


class Read(Protocol):
    """One read of databases."""

    def run(self) -> bytes:
        """The answer as JSON. Called in a thread; raises `StreamdError` or any error of the read."""

    def give_up(self) -> None:
        """End `run` soon, or the next one at once. Called on the loop, also after `run` has ended."""


class BoundedReading:
    """Runs reads, at most `MOST_AT_ONCE` at a time.

    A read ends by itself at its limit, and is ended when its client disconnects. Its thread does not keep the
    process alive.
    """

    def __init__(self) -> None:
        self._running = 0

    async def answer(self, request: Request, read: Read) -> Response:
        """The answer of the read. Raises `WrongRequest` for a wrong statement, and `EnvironmentFault`."""
        if self._running >= MOST_AT_ONCE:
            raise WrongRequest(503, f"{MOST_AT_ONCE} queries run already: try again when one has ended")
        self._running += 1
        connection_of(request).is_for_present_clients = True
        text = _in_thread(read, self._ended)
        watching = asyncio.ensure_future(_disconnected(request))
        try:
            either: set[asyncio.Future[Any]] = {text, watching}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not text.done():
                raise WrongRequest(503, GONE)  # nobody reads it
            return Response(text.result(), media_type="application/json")
        except QueryRefused as refused:
            raise WrongRequest(400, str(refused)) from None
        finally:
            read.give_up()
            text.cancel()
            watching.cancel()

    def _ended(self) -> None:
        self._running -= 1


class OwnQuery:
    """Reads with statements of streamd itself, within this process.

    It ends after `LIMIT_S`, which is looked at between steps of SQLite. So no user may choose the statement.
    """

    def __init__(
        self, opened: Callable[[], sqlite3.Connection], query: Callable[[sqlite3.Connection], Any]
    ) -> None:
        self._opened = opened
        self._query = query
        self._end_mono_s = read_clock().mono_s + LIMIT_S
        self._given_up = threading.Event()

    def run(self) -> bytes:
        """The result of `query` with the connection that `opened` opens, as JSON."""
        with closing(self._opened()) as connection, only_reading(connection, stop=self._stop):
            return msgspec.json.encode(self._query(connection)) + b"\n"

    def give_up(self) -> None:
        """End soon."""
        self._given_up.set()

    def _stop(self) -> str | None:
        if self._given_up.is_set():
            return GONE
        return TOO_LONG.format(LIMIT_S) if read_clock().mono_s > self._end_mono_s else None


def _in_thread(read: Read, ended: Callable[[], None]) -> asyncio.Future[bytes]:
    """The answer, from a thread of its own. `ended` is called on the loop when the thread has ended."""
    loop = asyncio.get_running_loop()
    text: asyncio.Future[bytes] = loop.create_future()

    def settle(result: bytes | BaseException) -> None:
        ended()
        if text.done():
            return
        if isinstance(result, BaseException):
            text.set_exception(result)
        else:
            text.set_result(result)

    def run() -> None:
        result: bytes | BaseException
        try:
            result = read.run()
        except BaseException as error:  # noqa: BLE001 - raised by the request
            result = error
        with suppress(RuntimeError):  # the loop is closed: the daemon has stopped
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=run, name="admin-query", daemon=True).start()
    return text


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
