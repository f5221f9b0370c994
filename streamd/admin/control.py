"""The control socket: status, reload and dead letters over HTTP on a Unix socket."""

import asyncio
import json
import os
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from streamd.admin.exchange import MAX_REQUEST_BYTES, TIMEOUT_S, Answer, Exchange, Request
from streamd.admin.status import status
from streamd.admin.view import View
from streamd.admin.watch import Watch
from streamd.core.errors import ConfigError, StreamdError, Taken
from streamd.core.moment import moment
from streamd.core.printable import printable
from streamd.core.trial_paths import try_folder
from streamd.dead_letters import reader as dead_letter_reader
from streamd.dead_letters.filter import LetterFilter
from streamd.service.unix_socket import CREDENTIALS, PATH_BYTES, UnixSocket
from streamd.storage.read_only import only_reading, open_read_only

MAX_CONNECTIONS = 16
MOST_LETTERS = 1000
"""Listed in one answer."""

_OWNER = "[control]"
_JSON = "application/json"
_FILTERS = ("reason", "source", "stage", "pipeline", "since")
_MOST_DIGITS = 18
"""SQLite's numbers have 63 bits."""
_LETTERS = b"/dead-letters"

log = structlog.get_logger()


class _WrongRequest(Exception):  # noqa: N818 - it is a verdict on the request
    """It asks for what there is not; `code` says which way."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Peer(NamedTuple):
    """The process that asks, as the kernel says."""

    pid: int
    uid: int
    gid: int


Reload = Callable[[bool, Peer], Awaitable[dict[str, Any]]]
"""Reloads (with True: only says what that would change). Raises `ConfigError` or `EnvironmentFault`."""


class ControlServer:
    """Serves `GET /status`, `POST /reload` (`?dry_run=1`), `GET /dead-letters`, `/dead-letters/count` and
    `/dead-letters/<id>` to users who may open the socket: `group`, or else only this user.

    An answer to `/reload` comes when it is over, however long that takes, and a client that goes away does
    not end it. `refused` counts what `Exchange` does.
    """

    def __init__(
        self,
        view: View,
        watch: Watch,
        path: Path,
        *,
        group: str | None,
        reload: Reload,
        dead_letters: Path,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.path = path
        self.refused = view.control_refused
        self._view = view
        self._watch = watch
        self._group = group
        self._reload = reload
        self._dead_letters = dead_letters
        self._exchange = Exchange(self._answer, self.refused, MAX_CONNECTIONS, timeout_s=timeout_s)
        self._bound: UnixSocket | None = None
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen. Raises `EnvironmentFault`; a running daemon keeps its socket."""
        made_by_systemd = "RUNTIME_DIRECTORY" in os.environ  # then the group of the unit may come in
        with suppress(OSError):  # what is wrong there the socket says
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._bound = UnixSocket(
            short(self.path),
            socket.SOCK_STREAM,
            permissions=0o660 if self._group is not None or made_by_systemd else 0o600,
            group=self._group,
            owner=_OWNER,
        )
        self._server = await asyncio.start_unix_server(
            self._exchange.accept,
            sock=self._bound.socket,
            limit=MAX_REQUEST_BYTES,
            backlog=MAX_CONNECTIONS,
        )

    @staticmethod
    def rehearse(path: Path, group: str | None) -> None:
        """Raises what `open` would, and makes nothing."""
        try:
            try_folder(path.parent)
            can_make_folder = True
        except OSError:  # what is wrong there the socket says
            can_make_folder = False
        try:
            UnixSocket.rehearse(
                short(path), socket.SOCK_STREAM, group=group, owner=_OWNER, made_folder=can_make_folder
            )
        except Taken as taken:
            raise Taken(str(taken), "unix", str(path)) from None

    async def close(self) -> None:
        """Take the path away and end every connection. Safe to call twice, and when never opened."""
        if self._bound is not None:
            self._bound.remove()
        if self._server is not None:
            self._server.close()
        await self._exchange.close()
        if self._bound is not None:
            self._bound.socket.close()

    async def _answer(self, request: Request) -> Answer:
        is_letter = request.path.startswith(_LETTERS + b"/")
        route = {b"/status": self._status, b"/reload": self._reloaded, _LETTERS: self._letters}.get(
            _LETTERS if is_letter else request.path
        )
        allowed = ("POST",) if request.path == b"/reload" else ("GET", "HEAD")
        if route is None:
            return Answer(404, b"there are /status, /reload and /dead-letters\n")
        if request.method.decode("latin-1") not in allowed:
            return Answer(405, f"only {' and '.join(allowed)}\n".encode(), allow=", ".join(allowed))
        try:
            return Answer(200, json.dumps(await route(request), allow_nan=False).encode() + b"\n", _JSON)
        except _WrongRequest as wrong:
            return _lines(wrong.code, wrong)
        except StreamdError as error:
            return _lines(422 if isinstance(error, ConfigError) else 503, error)
        except Exception:
            log.exception("control_answer_failed", path=request.path)
            return Answer(500, b"internal error, see the log\n")

    async def _status(self, request: Request) -> Any:
        del request
        return status(self._view, self._watch.readiness, self._watch.lag, self._view.clock())

    async def _reloaded(self, request: Request) -> Any:
        dry_run = _known(request, "dry_run").get("dry_run", "0")
        if dry_run not in {"0", "1"}:
            raise _WrongRequest(400, "dry_run is 0 or 1")
        sock = request.transport.get_extra_info("socket")
        peer = Peer(
            *CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
        )
        return await self._reload(dry_run == "1", peer)

    async def _letters(self, request: Request) -> Any:
        name = request.path.removeprefix(_LETTERS).removeprefix(b"/").decode("latin-1")
        if name == "count":
            wanted = self._wanted(_known(request, *_FILTERS))
            return await asyncio.to_thread(self._read, lambda c: dead_letter_reader.counts(c, wanted))
        if not name:
            given = _known(request, *_FILTERS, "limit")
            limit = min(_number(given.pop("limit", "50")), MOST_LETTERS)
            wanted = self._wanted(given)
            return await asyncio.to_thread(self._read, lambda c: dead_letter_reader.letters(c, wanted, limit))
        _known(request)
        number = _number(name)
        try:
            return await asyncio.to_thread(self._read, lambda c: dead_letter_reader.letter(c, number))
        except LookupError as error:
            raise _WrongRequest(404, error.args[0]) from None

    def _wanted(self, given: dict[str, str]) -> LetterFilter:
        try:
            since = moment(given["since"], self._view.clock().wall_s, "UTC") if "since" in given else None
        except ValueError as error:
            raise _WrongRequest(400, f"since: {error}") from None
        reason, source, stage, pipeline = map(given.get, ("reason", "source", "stage", "pipeline"))
        return LetterFilter(reason, source, stage, pipeline, since)

    def _read(self, question: Callable[[sqlite3.Connection], Any]) -> Any:
        with closing(open_read_only(self._dead_letters)) as connection, only_reading(connection):
            return question(connection)


def short(path: Path) -> Path:
    """The path, from the current folder where it is too long for the kernel; which may help."""
    return path if len(os.fsencode(path)) <= PATH_BYTES else Path(os.path.relpath(path))


def _known(request: Request, *names: str) -> dict[str, str]:
    """The query, which has no more than these."""
    try:
        given = request.parameters()
    except ValueError:
        raise _WrongRequest(400, "the query is not of the form name=value&name=value") from None
    for name in given:
        if name not in names:
            raise _WrongRequest(400, f"{name} is no parameter here; there are {', '.join(names) or 'none'}")
    return given


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise _WrongRequest(400, f"{text} is no number")
    return int(text)


def _lines(code: int, error: Exception) -> Answer:
    return Answer(code, "".join(f"{printable(line, 4096)}\n" for line in str(error).splitlines()).encode())
