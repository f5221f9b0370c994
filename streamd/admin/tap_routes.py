"""The routes that show records while they pass: `/points` and `/tap`. They show data, so they need rights."""

import asyncio
import difflib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from streamd.admin.parameters import as_json, known, number
from streamd.admin.stack import WrongRequest, connection_of
from streamd.admin.view import View
from streamd.core.expression import Expression
from streamd.core.listed import listed
from streamd.core.printable import printable
from streamd.runtime.tap import DEFAULT_RATE, ENDS, MAX_RATE, MAX_TAPS, Portion, Tap, TapOptions
from streamd.runtime.taps import Point, Taps, TooManyTapsError

MOST_ONCE = 1000
"""The most records of a tap with `once`."""
MOST_FIELDS = 100
_TYPE = "text/event-stream"
_PIECE_BYTES = 32 * 1024
_QUIET = b":\n\n"
"""A comment that ends each portion. It shows the client that the stream lives."""


class TapRoutes:
    """`/points` lists where taps may look. `/tap` is a stream of the records at one point.

    Events of `/tap`: `open` at once, `record` with `at_wall_s` and `record`, `skipped` with the number of
    records that were not shown since the last such event and the reasons, `end` with the reason.
    """

    def __init__(self, view: View) -> None:
        self._view = view

    def routes(self) -> list[Route]:
        """The routes, for those who may see records."""
        return [Route("/points", self._points), Route("/tap", self._tap)]

    async def _points(self, request: Request) -> Response:
        known(request)
        if self._view.tap_refusal is not None:
            raise WrongRequest(501, self._view.tap_refusal)
        return as_json({"points": list(map(_described, self._view.taps.points.values()))})

    async def _tap(self, request: Request) -> Response:
        given = known(request, "point", "where", "fields", "rate", "once")
        if self._view.tap_refusal is not None:
            raise WrongRequest(501, self._view.tap_refusal)
        taps = self._view.taps
        name = taps.find(given.get("point", ""))
        if name is None:
            raise WrongRequest(404, _no_point(given.get("point", ""), list(taps.points)))
        wanted = _wanted(given)
        if request.method == "HEAD":
            head = Response(media_type=_TYPE)
            del head.headers["content-length"]  # the stream has none
            return head
        if not connection_of(request).try_stream():
            return PlainTextResponse("too many clients read an event stream already\n", 503)
        try:
            tap = taps.open(name, wanted)
        except TooManyTapsError:
            return PlainTextResponse(f"there are {MAX_TAPS} taps already; end one first\n", 503)
        return _TapStream(taps, tap, _opened(taps.points[name], wanted))


class _TapStream(StreamingResponse):
    """The answer to `/tap`. The tap is closed when the client is gone, whatever the reason."""

    def __init__(self, taps: Taps, tap: Tap, first: bytes) -> None:
        super().__init__(_events(taps, tap, first), media_type=_TYPE)
        self._taps = taps
        self._tap = tap

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._taps.close(self._tap)


async def _events(taps: Taps, tap: Tap, first: bytes) -> AsyncIterator[bytes]:
    ready = asyncio.Event()
    tap.on_ready = ready.set
    yield first
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(taps.wait_s(tap)):
                await ready.wait()
        has_ended = tap.ended is not None
        portion = taps.take(tap)
        for piece in _pieces(portion):
            yield piece
        if has_ended and tap.ended is not None:
            end = {"reason": tap.ended, "text": ENDS[tap.ended], "shown": tap.shown, "skipped": tap.skipped}
            yield _event("end", end)
            return
        yield _QUIET


def _pieces(portion: Portion) -> Iterator[bytes]:
    """The events of a portion, several in a piece, because each piece is a write of its own."""
    events: list[bytes] = []
    size_bytes = 0
    for event in _told(portion):
        events.append(event)
        size_bytes += len(event)
        if size_bytes > _PIECE_BYTES:
            yield b"".join(events)
            events, size_bytes = [], 0
    if events:
        yield b"".join(events)


def _told(portion: Portion) -> Iterator[bytes]:
    for event in portion.events:
        yield b"event: record\ndata: %b\n\n" % event
    if portion.skipped:
        said: dict[str, Any] = {"records": portion.skipped.total(), **portion.skipped}
        if portion.why:
            said["why"] = printable(portion.why)
        yield _event("skipped", said)
    if portion.unseen is not None:
        there = [name for name in portion.unseen.there if not name.startswith("@")]
        yield _event("unseen", {**asdict(portion.unseen), "there": there[:MOST_FIELDS]})


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, allow_nan=False)}\n\n".encode()


def _opened(point: Point, wanted: TapOptions) -> bytes:
    rate = wanted.rate if wanted.once is None else None
    return _event("open", {**_described(point), "rate": rate, "once": wanted.once})


def _described(point: Point) -> dict[str, Any]:
    kind, _, name = point.name.partition(":")
    return {
        "point": point.name,
        "kind": kind,
        "name": name,
        "taps": len(point.taps),
        "concealed_by": list(point.conceals),
    }


def _no_point(name: str, points: list[str]) -> str:
    shown = printable(name, 200)
    close = difflib.get_close_matches(name, points, 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    first = f"there is no point {shown}{hint}" if name else "point is missing"
    return f"{first}; there are {listed(points)}"


def _wanted(given: dict[str, str]) -> TapOptions:
    """The parameters besides `point`. Raises `WrongRequest`."""
    once = _counted(given, "once", MOST_ONCE)
    rate = _counted(given, "rate", MAX_RATE)
    fields = None
    if "fields" in given:
        fields = list(dict.fromkeys(name.strip() for name in given["fields"].split(",")))
        if "" in fields or len(fields) > MOST_FIELDS:
            raise WrongRequest(400, f"fields: must be up to {MOST_FIELDS} names with commas between them")
    where = None
    if "where" in given:
        try:
            where = Expression(given["where"])
        except ValueError as error:
            raise WrongRequest(400, f"where: {error}") from None
    return TapOptions(where, fields, rate or (DEFAULT_RATE if once is None else MAX_RATE), once)


def _counted(given: dict[str, str], name: str, most: int) -> int | None:
    if name not in given:
        return None
    try:
        value = number(given[name])
    except WrongRequest:
        value = 0
    if not 1 <= value <= most:
        raise WrongRequest(400, f"{name}: must be a whole number from 1 to {most}")
    return value
